//! The spool's replay is cut short by kill -9 after Redis has run it: what comes again counts once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::load::{Load, Shop};
use crate::support::{Redis, Server};

/// As a replayed entry ends on the wire: the mark is set.
const MARK: &[u8] = b"replayed\r\n$1\r\n1\r\n";

/// A network between us and Redis that, when told to, brings a replay there but no answer back.
struct Network {
    url: String,
    swallows: Arc<AtomicBool>,
    swallowed: Arc<Notify>,
}

impl Network {
    async fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let network = Self { url, swallows: Arc::default(), swallowed: Arc::default() };
        let (swallows, swallowed) = (Arc::clone(&network.swallows), Arc::clone(&network.swallowed));
        let port = redis.port;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let is_silent = Arc::new(AtomicBool::new(false));
                let (swallows, swallowed, silence) =
                    (Arc::clone(&swallows), Arc::clone(&swallowed), Arc::clone(&is_silent));
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(read) = from_client.read(&mut buffer).await
                        && read > 0
                    {
                        let is_replay = buffer[..read].windows(MARK.len()).any(|bytes| bytes == MARK);
                        let is_cut = is_replay && swallows.load(Ordering::SeqCst);
                        if is_cut {
                            silence.store(true, Ordering::SeqCst);
                        }
                        if to_server.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                        if is_cut {
                            swallowed.notify_one();
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(read) = from_server.read(&mut buffer).await
                        && read > 0
                    {
                        let is_heard = !is_silent.load(Ordering::SeqCst);
                        if is_heard && to_client.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        network
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_short_and_repeated() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let network = Network::to(&redis).await;
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &network.url)]);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    // What was on its way when Redis stopped is spooled, and runs nevertheless when it goes on.
    redis.pause();
    load.goes_on(300).await;
    network.swallows.store(true, Ordering::SeqCst);
    redis.resume();
    for _ in 0..3 {
        network.swallowed.notified().await;
        server.kill();
        server.restart();
    }
    network.swallows.store(false, Ordering::SeqCst);
    load.goes_on(200).await;
    let outcome = load.end().await;
    outcome.is_recorded(&shop, 0).await;

    let stream = redis.cli(&["XINFO", "STREAM", "utmost:1:clicks:{0}"]);
    let added = stream.lines().skip_while(|line| *line != "entries-added").nth(1).unwrap();
    let added: u64 = added.parse().unwrap();
    let asked = outcome.redirected() + outcome.unanswered() + 1;
    assert!(added > asked, "nothing came twice: {added} entries of {asked} clicks");
}
