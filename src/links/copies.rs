//! Where the hot copies of links are kept, from which redirectors read.

use super::HotLink;
use super::cache::LinkCache;
use super::redis::HotLinks;

#[derive(Debug, thiserror::Error)]
pub enum CopiesError {
    #[error("the hot store does not take copies of links: {0}")]
    Redis(#[from] redis::RedisError),
}

/// The hot store's copies of links, by `domain/slug`.
#[derive(Clone)]
pub enum Copies {
    /// The redirector of this very process reads the ledger itself, and is told what changed.
    Embedded(LinkCache),
    Redis(HotLinks),
}

impl Copies {
    /// Whether copies are kept apart from the ledger, so that changes have to be brought to them.
    pub fn need_feeding(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// Makes short domains known, so that redirectors answer for them.
    pub async fn add_domains(&self, domains: &[String]) -> Result<(), CopiesError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(links) => Ok(links.add_domains(domains).await?),
        }
    }

    pub async fn remove_domain(&self, domain: &str) -> Result<(), CopiesError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(links) => Ok(links.remove_domain(domain).await?),
        }
    }

    /// Puts copies in place, or takes them away. A copy never replaces a newer one.
    pub async fn put(&self, copies: &[(String, Option<HotLink>)]) -> Result<(), CopiesError> {
        match self {
            Self::Embedded(cache) => copies.iter().for_each(|(key, _)| cache.invalidate(key)),
            Self::Redis(links) => links.put(copies).await?,
        }
        Ok(())
    }
}
