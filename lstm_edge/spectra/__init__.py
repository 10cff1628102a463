"""What features of sound are, and how ops compute them: the settings that libraries differ in, their constants, from samples to features."""
