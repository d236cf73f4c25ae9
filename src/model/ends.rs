//! The two ends of a cable, and values for each end: by side (upper, lower), or as seen from this ToR (self, peer).

use super::Side;

words! {
    /// One end of the cable, as this ToR sees it.
    End {
        /// The end at the ToR that we run on (or for).
        Own = "self",
        /// The end at the other ToR.
        Peer = "peer",
    }
}

/// One value for each end of the cable, as this ToR sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SelfPeer<T> {
    /// The value for `End::Own`.
    pub own: T,
    /// The value for `End::Peer`.
    pub peer: T,
}

impl<T> SelfPeer<T> {
    /// The value of one end.
    pub fn at(&self, end: End) -> &T {
        match end {
            End::Own => &self.own,
            End::Peer => &self.peer,
        }
    }

    /// The value of one end, to be changed.
    pub fn at_mut(&mut self, end: End) -> &mut T {
        match end {
            End::Own => &mut self.own,
            End::Peer => &mut self.peer,
        }
    }

    /// Both values with their ends, our own first.
    pub fn ends(&self) -> [(End, &T); 2] {
        [(End::Own, &self.own), (End::Peer, &self.peer)]
    }
}

/// One value for each end of the cable, by the ToR at that end. For the SoC, portid 1 is the upper ToR's end, 0 the lower's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpperLower<T> {
    /// portid 1.
    pub upper: T,
    /// portid 0.
    pub lower: T,
}

impl<T: Copy + Default> UpperLower<T> {
    /// The same pair seen from `side`. If the side is unknown, both ends are the default (unknown).
    pub fn seen_from(self, side: Side) -> SelfPeer<T> {
        match side {
            Side::Upper => SelfPeer {
                own: self.upper,
                peer: self.lower,
            },
            Side::Lower => SelfPeer {
                own: self.lower,
                peer: self.upper,
            },
            Side::Unknown => SelfPeer::default(),
        }
    }

    /// Both values for people: as (self, peer), or as (upper, lower) if the side is unknown.
    pub fn named(self, side: Side) -> [(&'static str, T); 2] {
        match side {
            Side::Unknown => [("upper", self.upper), ("lower", self.lower)],
            known => self
                .seen_from(known)
                .ends()
                .map(|(end, value)| (end.label(), *value)),
        }
    }
}
