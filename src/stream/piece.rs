//! What leaves in one write.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// What leaves in one write: a block, or several, in bytes that watchers of a job share.
///
/// They stay apart until they are written, so that whoever writes for many can tell by [`Piece::is_same`] that it has
/// them already.
#[derive(Clone, Debug, Default)]
pub struct Piece(SmallVec<[Bytes; 1]>);

impl Piece {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// Its bytes, in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|part| &**part)
    }

    /// Its bytes as one; a copy only where they are several.
    pub fn joined(mut self) -> Bytes {
        if self.0.len() == 1
            && let Some(only) = self.0.pop()
        {
            return only;
        }
        let mut joined = BytesMut::with_capacity(self.len());
        self.parts().for_each(|part| joined.extend_from_slice(part));
        joined.freeze()
    }

    /// Whether the other one is of the same bytes, in the same place: not only alike.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |part: &Bytes| (part.as_ptr(), part.len());
        self.0.iter().map(place).eq(other.0.iter().map(place))
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self(SmallVec::from_buf([bytes]))
    }
}

impl From<SmallVec<[Bytes; 1]>> for Piece {
    fn from(parts: SmallVec<[Bytes; 1]>) -> Self {
        Self(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(parts: &[&Bytes]) -> Piece {
        let parts: SmallVec<_> = parts.iter().copied().cloned().collect();
        parts.into()
    }

    #[test]
    fn pieces_are_the_same_when_they_share_all_their_bytes_and_not_when_they_look_alike() {
        let [one, two] = ["data: 1\n\n", "data: 2\n\n"].map(Bytes::from);
        let alike = Bytes::from(one.to_vec());
        let both = piece(&[&one, &two]);
        assert!(both.is_same(&piece(&[&one, &two])));
        for other in [
            piece(&[&alike, &two]),
            piece(&[&two, &one]),
            piece(&[&one]),
            piece(&[&one, &two, &two]),
            piece(&[&one.slice(..1), &two]),
            Piece::default(),
        ] {
            assert!(!both.is_same(&other), "{other:?}");
            assert!(!other.is_same(&both), "{other:?}");
        }
    }

    #[test]
    fn a_piece_is_its_parts_in_order_and_one_part_is_not_copied() {
        let [one, two] = ["data: 1\n\n", "data: 2\n\n"].map(Bytes::from);
        let both = piece(&[&one, &two]);
        assert_eq!(both.len(), one.len() + two.len());
        assert_eq!(both.joined(), "data: 1\n\ndata: 2\n\n");
        let place = one.as_ptr();
        assert_eq!(Piece::from(one).joined().as_ptr(), place);
        assert!(Piece::default().joined().is_empty());
        assert!(piece(&[&Bytes::new()]).is_empty());
    }
}
