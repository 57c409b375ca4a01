//! What the event log holds, and its two wire forms: packed bytes (embedded log, spool) and the named
//! fields of a Redis stream entry (`docs/STREAMS.md`).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::agent;
pub use super::text::Text;
use super::text::Texts;
use crate::domain::ids::{ClickId, LinkId, VisitorId};

/// Bytes of a user agent that are kept.
pub const USER_AGENT_MAX: usize = 512;
/// Bytes of a referrer that are kept.
pub const REFERRER_MAX: usize = 1024;

/// Names of a click's fields in a stream. Every entry has all of them in this order, since Redis then
/// stores the names once per node and not once per click.
pub const CLICK_FIELDS: [&str; 9] =
    ["id", "link", "visitor", "request", "new", "address", "agent", "referrer", "replayed"];

/// Names of a delivery's fields in a stream.
pub const DELIVERY_FIELDS: [&str; 9] =
    ["id", "workspace", "source", "platform", "received_ms", "verified", "headers", "body", "replayed"];

/// One request of a short URL, as facts; the worker says what it was. Its time is in its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click<'a> {
    pub id: ClickId,
    pub link: LinkId,
    /// None where the browser asked not to be known, and in strict privacy.
    pub visitor: Option<VisitorId>,
    /// The visitor's cookie was made by this click.
    pub is_new_visitor: bool,
    pub request: Request,
    pub address: Option<ClientNetwork>,
    pub user_agent: Text<'a>,
    pub referrer: Text<'a>,
    /// Came by way of the spool: counts only if its id was not there before.
    pub is_replayed: bool,
}

/// How a short URL was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Get,
    Head,
    /// `Sec-Purpose: prefetch`.
    Prefetch,
}

/// One webhook or conversion call as it came in, verified but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// A UUIDv7 in text form.
    pub id: String,
    pub workspace: String,
    pub source: String,
    pub platform: String,
    pub received_ms: i64,
    /// A known secret signed it.
    pub is_verified: bool,
    /// The headers that interpretation may need, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
    /// Came by way of the spool: counts only if its id was not there before.
    pub is_replayed: bool,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Click(Click<'static>),
    Delivery(Delivery),
    /// Somebody else's entry, or a damaged one: nothing to count, but its position passes.
    Unreadable(BadRecord),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable entry of the event log: {0}")]
pub struct BadRecord(pub &'static str);

/// A visitor's address without the part that names one household: /24 of IPv4, /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self(IpAddr::V4(Ipv4Addr::new(a, b, c, 0)))
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
            }
        }
    }

    /// The first address of the network.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Request {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::Prefetch => "prefetch",
        }
    }

    fn from_bytes(text: &[u8]) -> Result<Self, BadRecord> {
        match text {
            b"get" => Ok(Self::Get),
            b"head" => Ok(Self::Head),
            b"prefetch" => Ok(Self::Prefetch),
            _ => Err(BadRecord("request")),
        }
    }
}

// The packed form of a click, all numbers little endian:
// | 1 flags | 16 id | 8 link | 12 visitor? | 3 or 6 address? | 2 length, agent | 2 length, referrer |
// The agent is in its short form: it would be most of the click, and what is written must be synced.
const HAS_VISITOR: u8 = 1;
const NEW_VISITOR: u8 = 2;
const HEAD: u8 = 4;
const PREFETCH: u8 = 8;
const V4: u8 = 16;
const V6: u8 = 32;

impl Click<'_> {
    /// Appends the packed form; over-long texts are cut.
    pub fn pack(&self, out: &mut Vec<u8>) {
        let address = self.address.map(ClientNetwork::address);
        let flags = (if self.visitor.is_some() { HAS_VISITOR } else { 0 })
            | (if self.is_new_visitor { NEW_VISITOR } else { 0 })
            | match self.request {
                Request::Get => 0,
                Request::Head => HEAD,
                Request::Prefetch => PREFETCH,
            }
            | match address {
                None => 0,
                Some(IpAddr::V4(_)) => V4,
                Some(IpAddr::V6(_)) => V6,
            };
        out.push(flags);
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.link.to_bytes());
        if let Some(visitor) = &self.visitor {
            out.extend_from_slice(visitor.as_bytes());
        }
        match address {
            None => {}
            Some(IpAddr::V4(v4)) => out.extend_from_slice(&v4.octets()[..3]),
            Some(IpAddr::V6(v6)) => out.extend_from_slice(&v6.octets()[..6]),
        }
        let length_at = out.len();
        out.extend_from_slice(&[0; 2]);
        agent::shorten(cut(&self.user_agent, USER_AGENT_MAX), out);
        // Even of tildes alone the short form is but twice as long.
        let length = (out.len() - length_at - 2) as u16;
        out[length_at..length_at + 2].copy_from_slice(&length.to_le_bytes());
        pack_text(out, cut(&self.referrer, REFERRER_MAX));
    }

    /// Reads the packed form.
    pub fn unpack(packed: &[u8]) -> Result<Click<'_>, BadRecord> {
        let packed = PackedClick::read(packed)?;
        Ok(Click { user_agent: packed.agent().into(), ..packed.click })
    }
}

/// A click as it lies packed: its texts are not copied, and its user agent is in the short form.
pub struct PackedClick<'a> {
    /// Without its user agent.
    pub click: Click<'a>,
    agent: &'a str,
}

impl<'a> PackedClick<'a> {
    pub fn read(packed: &'a [u8]) -> Result<Self, BadRecord> {
        let mut rest = Unpacker(packed);
        let [flags] = rest.array()?;
        let id = ClickId::from_bytes(rest.array()?);
        let link = LinkId::from_bytes(rest.array()?).map_err(|_| BadRecord("link"))?;
        let visitor = match flags & HAS_VISITOR {
            0 => None,
            _ => Some(VisitorId::from_bytes(rest.array()?)),
        };
        let address = match flags & (V4 | V6) {
            V4 => {
                let [a, b, c] = rest.array()?;
                Some(IpAddr::from([a, b, c, 0]))
            }
            V6 => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(rest.take(6)?);
                Some(IpAddr::from(octets))
            }
            _ => None,
        };
        let agent = rest.text()?;
        let click = Click {
            id,
            link,
            visitor,
            is_new_visitor: flags & NEW_VISITOR != 0,
            request: match flags & (HEAD | PREFETCH) {
                HEAD => Request::Head,
                PREFETCH => Request::Prefetch,
                _ => Request::Get,
            },
            address: address.map(ClientNetwork),
            user_agent: "".into(),
            referrer: rest.text()?.into(),
            is_replayed: false,
        };
        Ok(Self { click, agent })
    }

    /// The user agent in full.
    pub fn agent(&self) -> Cow<'a, str> {
        agent::expand(self.agent)
    }

    /// Hands each field of the stream form to `field`, in the order of [`CLICK_FIELDS`].
    pub fn fields(&self, mut field: impl FnMut(&'static str, &[u8])) {
        use std::io::Write as _;

        let Self { click, agent } = self;
        let mut hex = [0; 32];
        let mut address = Vec::with_capacity(40);
        match click.address.map(ClientNetwork::address) {
            None => {}
            // Formatting it would take as long as half of the other fields together.
            Some(IpAddr::V4(v4)) => push_octets(&mut address, v4.octets()),
            Some(IpAddr::V6(v6)) => write!(address, "{v6}").expect("there is room in memory"),
        }
        hex::encode_to_slice(click.id.as_bytes(), &mut hex).expect("16 bytes are 32 digits");
        let visitor = click.visitor.map(VisitorId::to_text);

        let values: [&[u8]; CLICK_FIELDS.len()] = [
            &hex,
            &click.link.to_text(),
            visitor.as_ref().map_or(b"", |text| text),
            click.request.as_str().as_bytes(),
            digit(click.is_new_visitor),
            &address,
            agent.as_bytes(),
            click.referrer.as_bytes(),
            digit(click.is_replayed),
        ];
        for (name, value) in CLICK_FIELDS.into_iter().zip(values) {
            field(name, value);
        }
    }

    /// Borrows nothing any more.
    pub(super) fn into_shared(self, texts: &mut Texts) -> Click<'static> {
        let Self { click, agent } = self;
        let referrer = &*click.referrer;
        Click {
            user_agent: texts.agents.get(agent.as_bytes(), || agent::expand(agent).into()),
            referrer: texts.referrers.get(referrer.as_bytes(), || referrer.into()),
            ..click
        }
    }
}

impl Click<'_> {
    /// Reads the stream form. Fields may come in any order; unknown ones are passed over.
    pub(super) fn from_fields<'f>(
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        texts: &mut Texts,
    ) -> Result<Click<'static>, BadRecord> {
        let (mut id, mut link) = (None, None);
        let mut click = Click {
            id: ClickId::from_bytes([0; 16]),
            link: LinkId::from_bytes([0; 8]).expect("zero is a link id"),
            visitor: None,
            is_new_visitor: false,
            request: Request::Get,
            address: None,
            user_agent: "".into(),
            referrer: "".into(),
            is_replayed: false,
        };
        for (name, value) in fields {
            match name {
                b"id" => id = Some(parse(value, "id")?),
                b"link" => link = Some(parse(value, "link")?),
                b"visitor" if value.is_empty() => {}
                b"visitor" => click.visitor = Some(parse(value, "visitor")?),
                b"request" => click.request = Request::from_bytes(value)?,
                b"new" => click.is_new_visitor = value == b"1",
                b"address" if value.is_empty() => {}
                b"address" => click.address = Some(ClientNetwork::of(parse(value, "address")?)),
                b"agent" => {
                    let sent = || agent::expand(&String::from_utf8_lossy(value)).into();
                    click.user_agent = texts.agents.get(value, sent);
                }
                b"referrer" => {
                    click.referrer = texts.referrers.get(value, || String::from_utf8_lossy(value).into());
                }
                b"replayed" => click.is_replayed = value == b"1",
                _ => {}
            }
        }
        click.id = id.ok_or(BadRecord("a click without id"))?;
        click.link = link.ok_or(BadRecord("a click without link"))?;
        Ok(click)
    }
}

/// Everything of a delivery but its body, as JSON before the body in the packed form.
#[derive(Serialize, Deserialize)]
struct DeliveryHead<'a> {
    id: Cow<'a, str>,
    workspace: Cow<'a, str>,
    source: Cow<'a, str>,
    platform: Cow<'a, str>,
    received_ms: i64,
    verified: bool,
    headers: Cow<'a, [(String, String)]>,
}

impl Delivery {
    /// Appends the packed form: 4 bytes of length, the head as JSON, the body.
    pub fn pack(&self, out: &mut Vec<u8>) {
        let head = DeliveryHead {
            id: (&self.id).into(),
            workspace: (&self.workspace).into(),
            source: (&self.source).into(),
            platform: (&self.platform).into(),
            received_ms: self.received_ms,
            verified: self.is_verified,
            headers: (&self.headers).into(),
        };
        let head = serde_json::to_vec(&head).expect("texts and numbers are JSON");
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.body);
    }

    pub fn unpack(packed: &[u8]) -> Result<Self, BadRecord> {
        let mut rest = Unpacker(packed);
        let head_len = u32::from_le_bytes(rest.array()?) as usize;
        let head: DeliveryHead<'_> =
            serde_json::from_slice(rest.take(head_len)?).map_err(|_| BadRecord("delivery"))?;
        Ok(Self {
            id: head.id.into_owned(),
            workspace: head.workspace.into_owned(),
            source: head.source.into_owned(),
            platform: head.platform.into_owned(),
            received_ms: head.received_ms,
            is_verified: head.verified,
            headers: head.headers.into_owned(),
            body: rest.0.to_vec(),
            is_replayed: false,
        })
    }

    /// Hands each field of the stream form to `field`, in the order of [`DELIVERY_FIELDS`].
    pub fn fields(&self, mut field: impl FnMut(&'static str, &[u8])) {
        let received_ms = self.received_ms.to_string();
        let headers = serde_json::to_vec(&self.headers).expect("texts are JSON");
        let values: [&[u8]; DELIVERY_FIELDS.len()] = [
            self.id.as_bytes(),
            self.workspace.as_bytes(),
            self.source.as_bytes(),
            self.platform.as_bytes(),
            received_ms.as_bytes(),
            digit(self.is_verified),
            &headers,
            &self.body,
            digit(self.is_replayed),
        ];
        for (name, value) in DELIVERY_FIELDS.into_iter().zip(values) {
            field(name, value);
        }
    }

    /// Reads the stream form. Fields may come in any order; unknown ones are passed over.
    pub fn from_fields<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Result<Self, BadRecord> {
        let (mut id, mut source, mut received_ms) = (None, None, None);
        let mut delivery = Self {
            id: String::new(),
            workspace: String::new(),
            source: String::new(),
            platform: String::new(),
            received_ms: 0,
            is_verified: false,
            headers: Vec::new(),
            body: Vec::new(),
            is_replayed: false,
        };
        for (name, value) in fields {
            match name {
                b"id" => id = Some(parse(value, "id")?),
                b"workspace" => delivery.workspace = parse(value, "workspace")?,
                b"source" => source = Some(parse(value, "source")?),
                b"platform" => delivery.platform = parse(value, "platform")?,
                b"received_ms" => received_ms = Some(parse(value, "received_ms")?),
                b"verified" => delivery.is_verified = value == b"1",
                b"headers" => {
                    delivery.headers = serde_json::from_slice(value).map_err(|_| BadRecord("headers"))?;
                }
                b"body" => delivery.body = value.to_vec(),
                b"replayed" => delivery.is_replayed = value == b"1",
                _ => {}
            }
        }
        delivery.id = id.ok_or(BadRecord("a delivery without id"))?;
        delivery.source = source.ok_or(BadRecord("a delivery without source"))?;
        delivery.received_ms = received_ms.ok_or(BadRecord("a delivery without received_ms"))?;
        Ok(delivery)
    }
}

fn push_octets(out: &mut Vec<u8>, octets: [u8; 4]) {
    for (n, octet) in octets.into_iter().enumerate() {
        if n > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

fn digit(flag: bool) -> &'static [u8] {
    if flag { b"1" } else { b"0" }
}

fn parse<T: std::str::FromStr>(value: &[u8], what: &'static str) -> Result<T, BadRecord> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(BadRecord(what))
}

/// The longest beginning of a text that has at most `max` bytes and ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn pack_text(out: &mut Vec<u8>, text: &str) {
    // Cut before, so that it fits.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Takes packed bytes apart and never reads past their end.
struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], BadRecord> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(BadRecord("cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    fn text(&mut self) -> Result<&'a str, BadRecord> {
        let len = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(len.into())?).map_err(|_| BadRecord("text"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_click() -> impl Strategy<Value = Click<'static>> {
        let request = prop_oneof![Just(Request::Get), Just(Request::Head), Just(Request::Prefetch)];
        (any::<[u8; 16]>(), any::<u64>(), any::<Option<[u8; 12]>>(), any::<bool>(), request).prop_flat_map(
            |(id, link, visitor, is_new_visitor, request)| {
                (any::<Option<IpAddr>>(), "\\PC{0,300}", "\\PC{0,300}").prop_map(
                    move |(address, agent, referrer)| Click {
                        id: ClickId::from_bytes(id),
                        link: LinkId::from_i64((link >> 1).cast_signed()).unwrap(),
                        visitor: visitor.map(VisitorId::from_bytes),
                        is_new_visitor,
                        request,
                        address: address.map(ClientNetwork::of),
                        user_agent: cut(&agent, USER_AGENT_MAX).to_owned().into(),
                        referrer: cut(&referrer, REFERRER_MAX).to_owned().into(),
                        is_replayed: false,
                    },
                )
            },
        )
    }

    fn any_delivery() -> impl Strategy<Value = Delivery> {
        let headers = proptest::collection::vec(("[a-z-]{1,9}", "\\PC{0,9}"), 0..4);
        ("\\PC{1,40}", "[a-z]{1,9}", any::<i64>(), any::<bool>(), headers, any::<Vec<u8>>()).prop_map(
            |(id, word, received_ms, is_verified, headers, body)| Delivery {
                id,
                workspace: word.clone(),
                source: word.clone(),
                platform: word,
                received_ms,
                is_verified,
                headers,
                body,
                is_replayed: false,
            },
        )
    }

    fn collected(fields: impl FnOnce(&mut dyn FnMut(&'static str, &[u8]))) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        fields(&mut |name, value| all.push((name.into(), value.into())));
        all
    }

    fn borrowed(fields: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> {
        fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    proptest! {
        #[test]
        fn clicks_read_back(click in any_click(), is_replayed: bool) {
            let mut packed = Vec::new();
            click.pack(&mut packed);
            prop_assert_eq!(Click::unpack(&packed), Ok(click.clone()));
            for end in 0..packed.len() {
                prop_assert!(Click::unpack(&packed[..end]).is_err());
            }
            let mut packed = PackedClick::read(&packed).unwrap();
            packed.click.is_replayed = is_replayed;
            let click = Click { is_replayed, ..click };
            let fields = collected(|f| packed.fields(f));
            prop_assert_eq!(fields.iter().map(|f| f.0.as_slice()).collect::<Vec<_>>(),
                CLICK_FIELDS.map(str::as_bytes));
            prop_assert_eq!(Click::from_fields(borrowed(&fields), &mut Texts::default()), Ok(click));
        }

        #[test]
        fn deliveries_read_back(delivery in any_delivery(), is_replayed: bool) {
            let mut packed = Vec::new();
            delivery.pack(&mut packed);
            prop_assert_eq!(Delivery::unpack(&packed), Ok(delivery.clone()));
            let delivery = Delivery { is_replayed, ..delivery };
            let fields = collected(|f| delivery.fields(f));
            prop_assert_eq!(Delivery::from_fields(borrowed(&fields)), Ok(delivery));
        }

        #[test]
        fn damaged_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Click::unpack(&bytes);
            let _ = Delivery::unpack(&bytes);
            let fields = [(&b"id"[..], &bytes[..]), (b"headers", &bytes), (b"address", &bytes)];
            prop_assert!(Click::from_fields(fields.into_iter(), &mut Texts::default()).is_err());
            prop_assert!(Delivery::from_fields(fields.into_iter()).is_err());
        }
    }

    #[test]
    fn addresses_are_cut() {
        let check = |address: &str, expected: &str| {
            assert_eq!(ClientNetwork::of(address.parse().unwrap()).to_string(), expected);
        };
        check("203.0.113.77", "203.0.113.0");
        check("::ffff:203.0.113.77", "203.0.113.0");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1::");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let click = Click {
            id: ClickId::from_bytes([1; 16]),
            link: LinkId::from_i64(1).unwrap(),
            visitor: None,
            is_new_visitor: false,
            request: Request::Get,
            address: None,
            user_agent: "ä".repeat(300).into(),
            referrer: format!("x{}", "ä".repeat(2_000)).into(),
            is_replayed: false,
        };
        let mut packed = Vec::new();
        click.pack(&mut packed);
        let read = Click::unpack(&packed).unwrap();
        assert_eq!((read.user_agent.len(), read.referrer.len()), (512, 1023));
    }
}
