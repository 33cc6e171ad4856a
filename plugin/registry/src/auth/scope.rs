//! What a token is asked for (distribution spec, "Token Scope Documentation").

/// Repositories and what shall be done there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Whose credentials are looked up.
    repository: String,
    /// As token servers want them, each for one repository.
    texts: Vec<String>,
}

impl Scope {
    /// To read from `repository`.
    pub(crate) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), texts: vec![format!("repository:{repository}:pull")] }
    }

    /// To read from and write to `repository`.
    pub(crate) fn push(repository: &str) -> Self {
        Self { repository: repository.to_owned(), texts: vec![format!("repository:{repository}:pull,push")] }
    }

    /// Also to read from `repository`, for a blob that is mounted from there.
    #[must_use]
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.texts.push(format!("repository:{repository}:pull"));
        self
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }
}
