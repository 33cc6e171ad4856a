//! Which images a pattern of the kubelet's is about (k8s.io/kubernetes, pkg/credentialprovider, `URLsMatch`).

/// True when `image` (`host[:port]/repository`) is one of those `pattern` stands for: the same number of
/// dot-separated parts in the host, each matching with `*` for any characters, the same port, and the pattern's
/// path a prefix of the image's.
pub(super) fn matches(pattern: &str, image: &str) -> bool {
    let (wanted, found) = (split(pattern), split(image));
    let parts = |host: &str| host.split('.').count();
    wanted.port == found.port
        && parts(wanted.host) == parts(found.host)
        && found.path.starts_with(wanted.path)
        && wanted.host.split('.').zip(found.host.split('.')).all(|(pattern, part)| glob(pattern, part))
}

struct Parts<'a> {
    host: &'a str,
    port: &'a str,
    path: &'a str,
}

fn split(text: &str) -> Parts<'_> {
    let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    // The last colon of `[::1]` belongs to the address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    Parts { host, port, path }
}

/// `*` stands for any characters, also none.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = text.get(at + piece.len()..).unwrap_or_default();
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (pattern, image, expected) in [
            ("r.example", "r.example/app", true),
            ("r.example", "r.example:5000/app", false),
            ("r.example:5000", "r.example:5000/app", true),
            ("*.example", "r.example/app", true),
            ("*.example", "a.r.example/app", false),
            ("*", "r.example/app", false),
            ("*", "localhost/app", true),
            ("*.*", "r.example/app", true),
            ("*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com/team/app", true),
            ("*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.amazonaws.com/team/app", false),
            ("r.example/team", "r.example/team/app", true),
            ("r.example/team", "r.example/other/app", false),
            // As the kubelet: a prefix of the text, not of the segments.
            ("r.example/team", "r.example/teammate/app", true),
            ("r*.example", "registry.example/app", true),
            ("r*y.example", "registry.example/app", true),
            ("r*x.example", "registry.example/app", false),
            ("*a*b*.example", "xaxbx.example/app", true),
            ("*a*b*.example", "xbxax.example/app", false),
            ("a*a.example", "a.example/app", false),
            ("https://r.example", "r.example/app", true),
            ("[::1]:5000", "[::1]:5000/app", true),
            ("", "r.example/app", false),
        ] {
            assert_eq!(matches(pattern, image), expected, "{pattern} {image}");
        }
    }
}
