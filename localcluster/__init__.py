"""A real Kubernetes on this machine, from Go modules and Debian packages alone.

Knows how to build the programs and the images, and how to start and end the cluster. Knows nothing
of what runs in it, and imports nothing but the standard library: it runs before any virtualenv.
"""
