"""Will a generator like these latents? Probes of a latent space, before weeks of training."""
