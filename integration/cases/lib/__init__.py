"""What the cases are made of: raw tars, images, registries, certificates, a node, and the comparison with containerd's overlayfs."""
