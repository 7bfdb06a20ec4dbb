"""URLs of images: data, local files, and hosts that are allowed."""
