"""What a GPU can do at most, and what torch makes of a Wan2.2 denoiser on it."""
