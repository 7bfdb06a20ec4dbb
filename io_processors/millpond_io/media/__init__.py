"""Reading of image URLs: data URLs, local files and allowed hosts."""
