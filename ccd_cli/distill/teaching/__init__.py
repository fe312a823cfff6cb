"""Teachers beside the student: found, loaded, asked in passes that fit their device, and drawn step by step as labels."""
