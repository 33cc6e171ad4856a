//! Exit codes other than 0 and 1.

/// An outcome that scripts tell from a failure.
#[derive(Debug)]
pub(crate) struct Exit {
    /// What the process ends with.
    pub(crate) code: u8,
    /// Why.
    pub(crate) reason: &'static str,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Exit {}

/// The code that an error ends the process with.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Exit>().map_or(1, |exit| exit.code)
}
