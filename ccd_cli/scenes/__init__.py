"""Generated scenes: seeded pictures of rooms, streets and open land with exact metric depth, without any download."""

from ccd_cli.scenes.renderer import Rendered, render

__all__ = ["Rendered", "render"]
