//! One connection to Redis that its user has to itself: it writes prepared commands and reads replies in
//! place. The client library would make several allocations of every click.
//!
//! The protocol is RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::target::{Address, Socket, Target, moved_to};
use crate::hot::servers::Kind;

#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("the address of Redis is not valid: {0}")]
    Address(String),
    #[error("Redis cannot be reached: {0}")]
    Io(#[from] io::Error),
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("Redis refused: {0}")]
    Refused(String),
    #[error("Redis answered what is not expected")]
    Protocol,
}

pub(crate) struct Connection {
    socket: Socket,
    input: BytesMut,
    /// The reply that was handed out last is still at the front of `input`.
    handed_out: usize,
    scan: Scan,
    /// A command that was written ahead, and whose reply nobody has read.
    ahead: Option<Vec<u8>>,
    /// What Redis calls this connection.
    pub client_id: i64,
}

impl Connection {
    /// Connects to the server that holds `key`, and proves that it answers.
    pub async fn open(target: &Target, key: &str, timeout: Duration) -> Result<Self, RedisError> {
        tokio::time::timeout(timeout, Self::find(target, key)).await.map_err(|_| RedisError::Timeout)?
    }

    async fn find(target: &Target, key: &str) -> Result<Self, RedisError> {
        let mut problem = RedisError::Protocol;
        for address in &target.addresses {
            let found = match &target.kind {
                Kind::Single => Self::greet(target, address).await,
                Kind::Cluster => Self::follow(target, address, key).await,
                Kind::Sentinel { master } => Self::ask_sentinel(target, address, master).await,
            };
            match found {
                Ok(connection) => return Ok(connection),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    async fn greet(target: &Target, address: &Address) -> Result<Self, RedisError> {
        let mut connection = Self::new(target.connect(address).await?);
        if let Some(password) = &target.password {
            match &target.username {
                Some(username) => connection.call(&["AUTH", username, password]).await?,
                None => connection.call(&["AUTH", password]).await?,
            };
        }
        if target.database != 0 {
            connection.call(&["SELECT", &target.database.to_string()]).await?;
        }
        let mut id = connection.call(&["CLIENT", "ID"]).await?;
        let Token::Int(client_id) = id.next()? else { return Err(RedisError::Protocol) };
        connection.client_id = client_id;
        Ok(connection)
    }

    /// In a cluster: goes where the key's slot is, as the servers say.
    async fn follow(target: &Target, seed: &Address, key: &str) -> Result<Self, RedisError> {
        let mut address = seed.clone();
        for _ in 0..5 {
            let mut connection = Self::greet(target, &address).await?;
            let moved = match connection.call(&["EXISTS", key]).await {
                Err(RedisError::Refused(text)) if text.starts_with("MOVED ") => text,
                Err(error) => return Err(error),
                Ok(_) => return Ok(connection),
            };
            address = moved_to(&moved, &address).ok_or(RedisError::Protocol)?;
        }
        Err(RedisError::Protocol)
    }

    /// Goes to the master that a sentinel knows, if it says so itself.
    async fn ask_sentinel(target: &Target, sentinel: &Address, master: &str) -> Result<Self, RedisError> {
        let mut asked = Self::new(target.connect(sentinel).await?);
        let mut reply = asked.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]).await?;
        if reply.array()? != 2 {
            return Err(RedisError::Address(format!("the sentinels know no master {master:?}")));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (host, port) = (text(reply.bulk()?), text(reply.bulk()?));
        let port = port.parse().map_err(|_| RedisError::Protocol)?;
        let address = sentinel.beside(&host, port).ok_or(RedisError::Protocol)?;
        let mut connection = Self::greet(target, &address).await?;
        let mut role = connection.call(&["ROLE"]).await?;
        role.array()?;
        match role.bulk()? {
            b"master" => Ok(connection),
            _ => Err(RedisError::Refused("the sentinels' master is none (yet)".into())),
        }
    }

    fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: BytesMut::with_capacity(1 << 16),
            handed_out: 0,
            scan: Scan::default(),
            ahead: None,
            client_id: 0,
        }
    }

    /// One command and its reply; an error reply is an error.
    pub async fn call(&mut self, arguments: &[&str]) -> Result<Reply<'_>, RedisError> {
        let command = command(arguments);
        if self.ahead.as_ref() == Some(&command) {
            self.ahead = None;
        } else {
            self.forget_ahead().await?;
            self.write(&command).await?;
        }
        self.reply().await?.ok()
    }

    /// Writes a command that will be called next: the reply comes while its user is still busy. Should
    /// another one be called, the reply is dropped.
    pub async fn write_ahead(&mut self, arguments: &[&str]) -> Result<(), RedisError> {
        self.forget_ahead().await?;
        let command = command(arguments);
        self.write(&command).await?;
        self.ahead = Some(command);
        Ok(())
    }

    async fn forget_ahead(&mut self) -> Result<(), RedisError> {
        if self.ahead.take().is_some() {
            self.reply().await?;
        }
        Ok(())
    }

    pub async fn write(&mut self, commands: &[u8]) -> io::Result<()> {
        self.socket.write_all(commands).await?;
        // TLS keeps what the network did not take at once.
        self.socket.flush().await
    }

    /// The next reply, whole. Cancelling loses nothing.
    pub async fn reply(&mut self) -> Result<Reply<'_>, RedisError> {
        self.input.advance(std::mem::take(&mut self.handed_out));
        loop {
            if let Some(len) = self.scan.advance(&self.input)? {
                self.handed_out = len;
                self.scan = Scan::default();
                return Ok(Reply { rest: &self.input[..len] });
            }
            self.input.reserve(1 << 14);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Reads so many replies, none of which may be an error.
    pub async fn acknowledge(&mut self, replies: usize) -> Result<(), RedisError> {
        for _ in 0..replies {
            self.reply().await?.ok()?;
        }
        Ok(())
    }

    /// Says that nothing more comes, and reads until Redis has taken in everything that was sent and
    /// closes. After this, no command of this connection runs any more.
    pub async fn settle(mut self) -> io::Result<()> {
        self.socket.shutdown().await?;
        loop {
            self.input.clear();
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// A whole reply, read token by token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    rest: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Int(i64),
    Bulk(&'a [u8]),
    /// So many replies follow.
    Array(usize),
    Null,
}

impl<'a> Reply<'a> {
    /// Turns an error reply into an error.
    pub fn ok(self) -> Result<Self, RedisError> {
        match self.rest.first() {
            Some(b'-') => {
                let text = String::from_utf8_lossy(&self.rest[1..]).trim_end().to_owned();
                Err(RedisError::Refused(text))
            }
            _ => Ok(self),
        }
    }

    pub fn next(&mut self) -> Result<Token<'a>, RedisError> {
        let Some((kind, line, used)) = split_line(self.rest)? else { return Err(RedisError::Protocol) };
        self.rest = &self.rest[used..];
        Ok(match kind {
            b'+' => Token::Simple(line),
            b'-' => Token::Error(line),
            b':' => Token::Int(number(line)?),
            b'*' => usize::try_from(number(line)?).map_or(Token::Null, Token::Array),
            b'$' => match usize::try_from(number(line)?) {
                Err(_) => Token::Null,
                Ok(len) => Token::Bulk(self.take(len)?),
            },
            _ => return Err(RedisError::Protocol),
        })
    }

    /// The bytes of a bulk string, without its line end.
    fn take(&mut self, len: usize) -> Result<&'a [u8], RedisError> {
        match len.checked_add(2).and_then(|end| self.rest.split_at_checked(end)) {
            Some((text, rest)) => {
                self.rest = rest;
                Ok(&text[..len])
            }
            None => Err(RedisError::Protocol),
        }
    }

    pub fn bulk(&mut self) -> Result<&'a [u8], RedisError> {
        if let Some((len, used)) = short(b'$', self.rest) {
            self.rest = &self.rest[used..];
            return self.take(len);
        }
        match self.next()? {
            Token::Bulk(text) => Ok(text),
            _ => Err(RedisError::Protocol),
        }
    }

    /// The length of an array; nothing is an empty one.
    pub fn array(&mut self) -> Result<usize, RedisError> {
        if let Some((len, used)) = short(b'*', self.rest) {
            self.rest = &self.rest[used..];
            return Ok(len);
        }
        match self.next()? {
            Token::Array(len) => Ok(len),
            Token::Null => Ok(0),
            _ => Err(RedisError::Protocol),
        }
    }

    /// Passes over one value, with all that is in it.
    pub fn skip(&mut self) -> Result<(), RedisError> {
        let mut pending = 1usize;
        while pending > 0 {
            pending -= 1;
            if let Token::Array(len) = self.next()? {
                pending = pending.saturating_add(len);
            }
        }
        Ok(())
    }
}

/// Finds the end of a reply that comes in pieces, looking at every byte once.
#[derive(Default)]
struct Scan {
    at: usize,
    /// Values that have to follow, beyond the first.
    more: usize,
    /// Bytes of a bulk string, with its line end, that have to follow.
    bulk: usize,
}

impl Scan {
    /// The length of the reply once all of it is there.
    fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, RedisError> {
        loop {
            if self.bulk > 0 {
                if input.len() - self.at < self.bulk {
                    return Ok(None);
                }
                self.at += std::mem::take(&mut self.bulk);
            } else if let Some((len, used)) = short(b'$', &input[self.at..]) {
                self.at += used;
                self.bulk = len + 2;
                continue;
            } else {
                let Some((kind, line, used)) = split_line(&input[self.at..])? else { return Ok(None) };
                self.at += used;
                match kind {
                    b'$' => {
                        if let Ok(len) = usize::try_from(number(line)?) {
                            self.bulk = checked(len.checked_add(2))?;
                            continue;
                        }
                    }
                    b'*' => {
                        let len = usize::try_from(number(line)?).unwrap_or(0);
                        self.more = checked(self.more.checked_add(len))?;
                    }
                    b'+' | b'-' | b':' => {}
                    _ => return Err(RedisError::Protocol),
                }
            }
            match self.more.checked_sub(1) {
                Some(more) => self.more = more,
                None => return Ok(Some(self.at)),
            }
        }
    }
}

/// The first line of a value: its kind, the rest of the line, and the bytes of both with the line end.
type Line<'a> = (u8, &'a [u8], usize);

/// None if there is no whole line yet.
fn split_line(input: &[u8]) -> Result<Option<Line<'_>>, RedisError> {
    const LINE_MAX: usize = 1 << 16;
    match input.iter().take(LINE_MAX).position(|b| *b == b'\n') {
        Some(end) if end >= 2 && input[end - 1] == b'\r' => Ok(Some((input[0], &input[1..end - 1], end + 1))),
        Some(_) => Err(RedisError::Protocol),
        None if input.len() >= LINE_MAX => Err(RedisError::Protocol),
        None => Ok(None),
    }
}

/// The first line of a value of this kind whose length is below 100, as nearly all are: the length, and the
/// bytes of the line.
fn short(kind: u8, input: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    match input {
        [first, ..] if *first != kind => None,
        [_, ones @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(*ones), 4)),
        [_, tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((digit(*tens) * 10 + digit(*ones), 5))
        }
        _ => None,
    }
}

fn number(line: &[u8]) -> Result<i64, RedisError> {
    let (is_negative, line) = line.strip_prefix(b"-").map_or((false, line), |rest| (true, rest));
    let number = checked(digits(line).and_then(|number| i64::try_from(number).ok()))?;
    Ok(if is_negative { -number } else { number })
}

/// `ok_or` would make an error for every number that is read, and drop it.
fn checked<T>(value: Option<T>) -> Result<T, RedisError> {
    match value {
        Some(value) => Ok(value),
        None => Err(RedisError::Protocol),
    }
}

fn command(arguments: &[&str]) -> Vec<u8> {
    let mut command = Vec::new();
    push_header(&mut command, arguments.len());
    for argument in arguments {
        push_bulk(&mut command, argument.as_bytes());
    }
    command
}

/// A number in decimal digits. Quicker than reading it as text, which is most of what a stream is made of.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Begins a command of so many words.
pub(crate) fn push_header(out: &mut Vec<u8>, words: usize) {
    push_length(out, b'*', words);
}

pub(crate) fn push_bulk(out: &mut Vec<u8>, word: &[u8]) {
    push_length(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

fn push_length(out: &mut Vec<u8>, kind: u8, n: usize) {
    if n < 100 {
        // Nearly all are so short.
        let (tens, ones) = (b'0' + (n / 10) as u8, b'0' + (n % 10) as u8);
        let line = [kind, tens, ones, b'\r', b'\n'];
        return match n {
            0..10 => out.extend_from_slice(&[kind, ones, b'\r', b'\n']),
            _ => out.extend_from_slice(&line),
        };
    }
    out.push(kind);
    out.extend_from_slice(decimal(n as u64, &mut [0; 20]));
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal digits, at the end of `digits`.
pub(crate) fn decimal(mut n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_are_found_in_pieces_and_read() {
        let whole = b"*3\r\n$3\r\na\r\n\r\n*2\r\n:-7\r\n$-1\r\n-ERR no\r\n+OK\r\n";
        let len = whole.len() - 5;
        let mut scan = Scan::default();
        for end in 0..len {
            assert_eq!(scan.advance(&whole[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(scan.advance(whole).unwrap(), Some(len));

        let mut reply = Reply { rest: &whole[..len] };
        let mut copy = reply;
        copy.skip().unwrap();
        assert!(copy.rest.is_empty());
        assert_eq!(reply.array().unwrap(), 3);
        assert_eq!(reply.bulk().unwrap(), b"a\r\n");
        assert_eq!(reply.next().unwrap(), Token::Array(2));
        assert_eq!(reply.next().unwrap(), Token::Int(-7));
        assert_eq!(reply.next().unwrap(), Token::Null);
        assert_eq!(reply.next().unwrap(), Token::Error(b"ERR no"));
        assert!(reply.next().is_err());
        assert!(
            matches!(Reply { rest: b"-OOM x\r\n" }.ok(), Err(RedisError::Refused(text)) if text == "OOM x")
        );
    }

    proptest! {
        #[test]
        fn junk_never_panics(mut junk: Vec<u8>, kind in "[$*:+-]") {
            junk.splice(0..0, kind.bytes());
            if let Ok(Some(len)) = Scan::default().advance(&junk) {
                let _ = Reply { rest: &junk[..len] }.skip();
            }
            let _ = Reply { rest: &junk }.skip();
        }
    }
}
