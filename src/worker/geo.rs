//! Countries of addresses, by a MaxMind database if one is configured.

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{Reader, geoip2};

#[derive(Debug, thiserror::Error)]
#[error("geoip.database {path}: {cause}")]
pub struct GeoError {
    path: String,
    cause: maxminddb::MaxMindDbError,
}

pub struct Countries(Option<Reader<Vec<u8>>>);

impl Countries {
    pub fn open(database: Option<&Path>) -> Result<Self, GeoError> {
        let open = |path: &Path| {
            Reader::open_readfile(path).map_err(|cause| GeoError { path: path.display().to_string(), cause })
        };
        Ok(Self(database.map(open).transpose()?))
    }

    /// ISO 3166 alpha-2; zeros where unknown.
    pub fn country(&self, address: IpAddr) -> [u8; 2] {
        let look_up = || {
            let found: geoip2::Country<'_> = self.0.as_ref()?.lookup(address).ok()?.decode().ok()??;
            found.country.iso_code?.as_bytes().try_into().ok()
        };
        look_up().unwrap_or_default()
    }
}
