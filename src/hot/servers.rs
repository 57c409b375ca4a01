//! The servers that `hot.url` names.

/// How they belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Single,
    Cluster,
    /// They watch over the server of this name and know where it is.
    Sentinel {
        master: String,
    },
}

/// The servers as `redis://` or `rediss://` URLs, each with the credentials and the database. Read from
/// `redis://[user:password@]host[:port][/database]` (`rediss://` over TLS, `redis+unix:///path`),
/// `redis-cluster://[user:password@]a[:port],b[:port]` (`rediss-cluster://`), or
/// `redis-sentinel://[user:password@]a[:port],b[:port]/master[/database]`, whose credentials are for the
/// master and whose addresses are the sentinels'. None if it is none of these.
pub fn servers(url: &str) -> Option<(Vec<String>, Kind)> {
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, cluster) = match scheme {
        "redis" | "rediss" | "redis+unix" | "unix" => return Some((vec![url.to_owned()], Kind::Single)),
        "redis-cluster" => ("redis", true),
        "rediss-cluster" => ("rediss", true),
        "redis-sentinel" => ("redis", false),
        _ => return None,
    };
    let (credentials, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, hosts)| {
        let end = rest.len() - hosts.len();
        (&rest[..end], hosts)
    });
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (kind, database, port) = match cluster {
        true if !path.is_empty() => return None,
        true => (Kind::Cluster, "", ""),
        false => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            (Kind::Sentinel { master: master.to_owned() }, database, ":26379")
        }
    };
    if kind == (Kind::Sentinel { master: String::new() }) {
        return None;
    }
    let server = |host: &str| {
        let host = host.trim();
        // An address of IPv6 stands in brackets.
        let port =
            if host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']')) { "" } else { port };
        (!host.is_empty()).then(|| format!("{scheme}://{credentials}{host}{port}/{database}"))
    };
    let urls: Option<Vec<String>> = hosts.split(',').map(server).collect();
    Some((urls?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers() {
        let check = |url: &str, expected: Option<(&[&str], Kind)>| {
            let expected =
                expected.map(|(urls, kind)| (urls.iter().map(|url| url.to_string()).collect(), kind));
            assert_eq!(servers(url), expected, "{url}");
        };
        check("redis://u:p@h:7000/3", Some((&["redis://u:p@h:7000/3"], Kind::Single)));
        check("rediss://h", Some((&["rediss://h"], Kind::Single)));
        check("redis-cluster://:p@a,b:7001", Some((&["redis://:p@a/", "redis://:p@b:7001/"], Kind::Cluster)));
        check("rediss-cluster://a", Some((&["rediss://a/"], Kind::Cluster)));
        check("redis-cluster://a/1", None);
        let sentinel = || Kind::Sentinel { master: "main".into() };
        check(
            "redis-sentinel://u:p@a,b:1,[::1]/main",
            Some((&["redis://u:p@a:26379/", "redis://u:p@b:1/", "redis://u:p@[::1]:26379/"], sentinel())),
        );
        check("redis-sentinel://a/main/2", Some((&["redis://a:26379/2"], sentinel())));
        for url in ["", "http://h", "redis-cluster://", "redis-sentinel://a", "redis-sentinel://a,/main"] {
            check(url, None);
        }
    }
}
