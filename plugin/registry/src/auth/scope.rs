//! What a token is asked for (distribution spec, "Token Scope Documentation").

/// Scopes taken from one challenge.
const MAX_SCOPES: usize = 16;

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

    /// What to ask for when a challenge has the scopes `challenged`, parted by spaces: these, and what we want.
    ///
    /// The server knows best what its repositories are called: a mirror below a path has its own name for ours, and
    /// its token server may refuse every other (GHCR, Artifact Registry). So ours is left out when the challenge names
    /// another repository. When it names none (`aws` of the public ECR), ours is asked for besides.
    pub(crate) fn answering(&self, challenged: Option<&str>) -> Vec<String> {
        let challenged = challenged.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
        let challenged: Vec<&str> = challenged.take(MAX_SCOPES).collect();
        let is_repository = |scope: &&str| scope.starts_with("repository");
        let mut wanted = Vec::new();
        for (n, own) in self.texts.iter().enumerate() {
            let (resource, actions) = split(own);
            let mut same = challenged.iter().filter(|scope| split(scope).0 == resource).peekable();
            let replaced = n == 0 && same.peek().is_none() && challenged.iter().any(is_repository);
            if !replaced {
                let actions = same.fold(actions.to_owned(), |all, scope| united(all, split(scope).1));
                wanted.push(format!("{resource}:{actions}"));
            }
        }
        let ours = |scope: &&&str| self.texts.iter().any(|own| split(own).0 == split(scope).0);
        wanted.extend(challenged.iter().filter(|scope| !ours(scope)).map(|scope| (*scope).to_owned()));
        wanted
    }
}

/// Resource and actions of a scope; one without a colon has no actions.
fn split(scope: &str) -> (&str, &str) {
    scope.rsplit_once(':').unwrap_or((scope, ""))
}

/// The actions of both lists.
fn united(mut all: String, more: &str) -> String {
    for action in more.split(',') {
        if !action.is_empty() && !all.split(',').any(|known| known == action) {
            all.push(',');
            all.push_str(action);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_say_what_to_ask_for() {
        let (pull, push) = (Scope::pull("team/app"), Scope::push("team/app"));
        let mount = push.clone().and_pull("team/base");
        for (scope, challenged, wanted) in [
            (&pull, None, "repository:team/app:pull"),
            (&pull, Some(""), "repository:team/app:pull"),
            (&pull, Some("repository:team/app:pull"), "repository:team/app:pull"),
            (&pull, Some("repository:team/app:pull,push"), "repository:team/app:pull,push"),
            (&pull, Some("repository:team/app:*"), "repository:team/app:pull,*"),
            (&push, Some("repository:team/app:pull"), "repository:team/app:pull,push"),
            (&pull, Some("aws"), "repository:team/app:pull aws"),
            (&pull, Some("registry:catalog:*"), "repository:team/app:pull registry:catalog:*"),
            (&pull, Some("repository:proxy/team/app:pull"), "repository:proxy/team/app:pull"),
            (&pull, Some("repository(plugin):team/app:pull"), "repository(plugin):team/app:pull"),
            (&pull, Some("  repository:a:pull   repository:b:pull "), "repository:a:pull repository:b:pull"),
            (
                &mount,
                Some("repository:team/app:pull,push"),
                "repository:team/app:pull,push repository:team/base:pull",
            ),
            (&mount, Some("repository:x/app:push"), "repository:team/base:pull repository:x/app:push"),
        ] {
            assert_eq!(scope.answering(challenged).join(" "), wanted, "{challenged:?}");
        }
        assert!(pull.answering(Some(&"a ".repeat(1000))).len() <= MAX_SCOPES + 1);
    }
}
