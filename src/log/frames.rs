//! Packed records one after the other, each after 4 bytes of length (little endian).

use super::record::BadRecord;

#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    count: u32,
}

impl Frames {
    /// Appends the record that `pack` writes.
    pub fn push(&mut self, pack: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        pack(&mut self.bytes);
        let len = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.count += 1;
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes stored frames apart; ends after the first that is cut off.
pub(super) fn unframe(mut rest: &[u8]) -> impl Iterator<Item = Result<&[u8], BadRecord>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let frame = rest.split_first_chunk::<4>().and_then(|(len, after)| {
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            after.split_at_checked(len)
        });
        let Some((record, after)) = frame else {
            rest = &[];
            return Some(Err(BadRecord("cut off")));
        };
        rest = after;
        Some(Ok(record))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_read_back_and_damage_ends_them(records: Vec<Vec<u8>>, cut: u16, junk: Vec<u8>) {
            let mut frames = Frames::default();
            for record in &records {
                frames.push(|out| out.extend_from_slice(record));
            }
            prop_assert_eq!(frames.count() as usize, records.len());
            let read: Vec<_> = unframe(frames.bytes()).collect();
            prop_assert!(read.iter().eq(records.iter().map(|r| Ok(r.as_slice())).collect::<Vec<_>>().iter()));
            let cut = usize::from(cut) % (frames.bytes().len() + 1);
            let whole = unframe(&frames.bytes()[..cut]).map_while(Result::ok);
            prop_assert!(whole.zip(&records).all(|(read, written)| read == written.as_slice()));
            prop_assert!(unframe(&junk).count() <= junk.len());
        }
    }
}
