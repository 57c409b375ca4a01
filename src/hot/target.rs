//! Where Redis is, as whom to speak to it, and the sockets that lead there.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use redis::{ConnectionAddr, IntoConnectionInfo as _};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::resp::RedisError;
use crate::hot::servers::{Kind, servers};

#[derive(Clone)]
pub(crate) struct Target {
    pub addresses: Vec<Address>,
    pub kind: Kind,
    pub username: Option<String>,
    pub password: Option<String>,
    pub database: i64,
    /// Where the addresses are TLS.
    tls: Option<TlsConnector>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(String, u16),
    Tls(String, u16),
    Unix(PathBuf),
}

impl Target {
    /// Reads `hot.url`.
    pub fn parse(url: &str) -> Result<Self, RedisError> {
        let wrong = |problem: &str| RedisError::Address(problem.to_owned());
        let (urls, kind) = servers(url).ok_or_else(|| wrong("hot.url names no server"))?;
        let mut addresses = Vec::with_capacity(urls.len());
        let mut settings = None;
        for url in urls {
            // The library's message may hold the password.
            let info = url.into_connection_info().map_err(|error| {
                RedisError::Address(
                    error.detail().unwrap_or("expected redis://host:port/database").to_owned(),
                )
            })?;
            addresses.push(match info.addr() {
                ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
                ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                    Address::Tls(host.clone(), *port)
                }
                ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
                _ => return Err(wrong("certificates are always checked: leave #insecure out")),
            });
            settings.get_or_insert_with(|| info.redis_settings().clone());
        }
        let settings = settings.ok_or_else(|| wrong("no host"))?;
        let is_tls = addresses.iter().any(|address| matches!(address, Address::Tls(..)));
        Ok(Self {
            addresses,
            kind,
            username: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            database: settings.db(),
            tls: is_tls.then(connector).transpose()?,
        })
    }

    pub async fn connect(&self, address: &Address) -> Result<Socket, RedisError> {
        let (host, port) = match address {
            Address::Unix(path) => return Ok(Socket::Unix(UnixStream::connect(path).await?)),
            Address::Tcp(host, port) | Address::Tls(host, port) => (host, *port),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        Ok(match (&self.tls, address) {
            (Some(tls), Address::Tls(..)) => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| RedisError::Address("a host with TLS needs a name or an address".into()))?;
                Socket::Tls(Box::new(tls.connect(name, stream).await?))
            }
            _ => Socket::Tcp(stream),
        })
    }
}

/// Trusts the system's authorities, or those in the file that `SSL_CERT_FILE` names; the client library
/// does the same.
fn connector() -> Result<TlsConnector, RedisError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let problem =
            "this system has no certificate authorities; install ca-certificates or set SSL_CERT_FILE";
        return Err(RedisError::Address(problem.into()));
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// `MOVED 3999 host:port`; without a host it is the one that answered.
pub(crate) fn moved_to(text: &str, from: &Address) -> Option<Address> {
    let (host, port) = text.split(' ').nth(2)?.rsplit_once(':')?;
    from.beside(host.trim_matches(['[', ']']), port.parse().ok()?)
}

impl Address {
    /// Another server, reached as this one is; the same host if none is given.
    pub fn beside(&self, host: &str, port: u16) -> Option<Self> {
        let host = |own: &String| if host.is_empty() { own.clone() } else { host.to_owned() };
        match self {
            Self::Tcp(own, _) => Some(Self::Tcp(host(own), port)),
            Self::Tls(own, _) => Some(Self::Tls(host(own), port)),
            Self::Unix(_) => None,
        }
    }
}

pub(crate) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let target = Target::parse("redis://u:p@h:7000/3").unwrap();
        assert_eq!(target.addresses, [Address::Tcp("h".into(), 7000)]);
        assert_eq!((target.username.as_deref(), target.password.as_deref()), (Some("u"), Some("p")));
        assert_eq!((target.database, target.kind), (3, Kind::Single));
        let target = Target::parse("redis-cluster://:p@a,b:7001").unwrap();
        assert_eq!(target.addresses, [Address::Tcp("a".into(), 6379), Address::Tcp("b".into(), 7001)]);
        assert_eq!((target.password.as_deref(), target.kind), (Some("p"), Kind::Cluster));
        for url in ["", "http://h", "redis-cluster://", "rediss://h/#insecure"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
        let from = Address::Tls("a".into(), 1);
        assert_eq!(moved_to("MOVED 3999 h:6381", &from), Some(Address::Tls("h".into(), 6381)));
        assert_eq!(moved_to("MOVED 3999 :6381", &from), Some(Address::Tls("a".into(), 6381)));
        assert_eq!(moved_to("MOVED 3999 [::1]:6381", &from), Some(Address::Tls("::1".into(), 6381)));
        assert_eq!(moved_to("MOVED", &from), None);
    }
}
