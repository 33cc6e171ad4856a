//! gRPC contracts: the containerd services we serve or call, and our own control API.
//!
//! Generated from the files in `proto/` at build time. The module tree mirrors the protobuf package names.
//! This crate holds no behaviour: who serves or calls what is decided in `snapshot`, `discover` and the
//! binary. A test compares every message and call with containerd's own published API.

/// Bytes a message may have in either direction: what containerd's Go side allows (16 MiB). Set it with
/// `max_decoding_message_size` and `max_encoding_message_size` on every client and server; tonic's default
/// of 4 MiB is too small for long lists.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Request metadata that names containerd's namespace.
pub const NAMESPACE_HEADER: &str = "containerd-namespace";

/// Request metadata that names a lease.
pub const LEASE_HEADER: &str = "containerd-lease";

/// All contracts as an encoded `google.protobuf.FileDescriptorSet`, for drift checks and reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A module of generated code: lints are for what people write.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, missing_debug_implementations, unused_qualifications)]
        #[allow(clippy::all, clippy::pedantic, clippy::restriction)]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

/// containerd's API, as far as we use it.
pub mod containerd {
    generated! {
        /// Messages several services share: mounts and content descriptors.
        types, "containerd.types"
    }

    /// The services, one module per package.
    pub mod services {
        /// `Snapshots`: the contract we serve.
        pub mod snapshots {
            generated! {
                /// Version 1, including `Commit.parent` of containerd 2.2.
                v1, "containerd.services.snapshots.v1"
            }
        }
        /// `Content`: blobs in containerd's store.
        pub mod content {
            generated! {
                /// Version 1.
                v1, "containerd.services.content.v1"
            }
        }
        /// `Diff`: containerd's own unpacking.
        pub mod diff {
            generated! {
                /// Version 1.
                v1, "containerd.services.diff.v1"
            }
        }
        /// `Images`: the names images have, read only.
        pub mod images {
            generated! {
                /// Version 1.
                v1, "containerd.services.images.v1"
            }
        }
        /// `Leases`: protection from garbage collection.
        pub mod leases {
            generated! {
                /// Version 1.
                v1, "containerd.services.leases.v1"
            }
        }
        /// `Namespaces`: the list of namespaces.
        pub mod namespaces {
            generated! {
                /// Version 1.
                v1, "containerd.services.namespaces.v1"
            }
        }
        /// `Version`: which containerd answers.
        pub mod version {
            generated! {
                /// Version 1.
                v1, "containerd.services.version.v1"
            }
        }
    }
}

impl std::fmt::Debug for chunked::control::v1::PullCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PullCredentials(..)")
    }
}

/// Kubernetes' container runtime interface.
pub mod runtime {
    generated! {
        /// Version 1: the request that we look into.
        v1, "runtime.v1"
    }
}

impl std::fmt::Debug for runtime::v1::AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthConfig(..)")
    }
}

/// Our own API.
pub mod chunked {
    /// `Control`: what the command line asks the daemon.
    pub mod control {
        generated! {
            /// Version 1.
            v1, "chunked.control.v1"
        }
    }
}
