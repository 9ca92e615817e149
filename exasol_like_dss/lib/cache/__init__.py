"""What builds remember: layers, finished images, verifications, and the Release files of package archives."""
