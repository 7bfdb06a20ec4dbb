"""SigLIP and SigLIP 2."""
