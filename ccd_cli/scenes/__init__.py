"""Generated scenes: seeded images of rooms, streets and open land with exact metric depth, without any download.

`world` decides what a scene contains, `render` turns its description into an image with depth, `renderer` is the interface
to both, and `source` reads a numbered set of scenes one by one.
"""

from ccd_cli.scenes.renderer import Rendered, render

__all__ = ["Rendered", "render"]
