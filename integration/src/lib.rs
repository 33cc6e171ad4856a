//! Real parts: containerd, registries, clients; demo, benchmarks, conformance.
