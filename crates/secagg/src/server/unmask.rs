//! Takes the masks off a sum.

use zeroize::Zeroizing;

use super::Server;
use crate::error::Failure;
use crate::keys::{PairMasks, commitment, mask_public, self_mask};
use crate::lanes::Vector;
use crate::mask::{self, MaskKey, Sign};
use crate::session::Session;
use crate::shamir::{Lagrange, SHARE_LEN, Share, correct};

/// Masks whose key schedules are held at a time: at 1,000 members with 30 % dropouts there are 200,000.
const BATCH: usize = 4096;

/// What each responder revealed: whose secrets it holds shares of, and the shares.
struct Responder<'a> {
    index: u32,
    owners: Vec<u32>,
    shares: &'a [[u8; SHARE_LEN]],
}

impl Responder<'_> {
    fn share_of(&self, owner: u32) -> Option<Share> {
        let place = self.owners.binary_search(&owner).ok()?;
        Share::from_bytes(self.shares.get(place)?)
    }
}

/// Lagrange coefficients of the last set of points: in a complete graph one set serves all owners.
#[derive(Default)]
struct Interpolation {
    points: Vec<u32>,
    lagrange: Option<Lagrange>,
}

impl Interpolation {
    fn secret(&mut self, points: &[u32], shares: &[&Share]) -> Option<Zeroizing<[u8; 32]>> {
        if self.points != points {
            self.lagrange = Lagrange::at_zero(points);
            self.points = points.to_vec();
        }
        let secret = self.lagrange.as_ref()?.secret(shares)?;
        Some(Zeroizing::new(secret))
    }
}

impl Server {
    /// The sum of the vectors of `members`, with what `responders` revealed.
    pub(super) fn unmask(
        &mut self,
        bucket: usize,
        members: &[u32],
        responders: &[u32],
    ) -> Result<Vector, Failure> {
        let layout = self.params.layout();
        let mut sum = std::mem::replace(&mut self.sums[bucket], Vector::zero(layout));
        let wrong = |what| Failure::Sum {
            members: members.len() as u32,
            what,
        };
        let session = self.session.as_ref().ok_or(wrong("there is no session"))?;
        let responders: Vec<Responder<'_>> = responders
            .iter()
            .filter_map(|index| {
                Some(Responder {
                    index: *index,
                    owners: session.owners(*index, &self.shared),
                    shares: self.reveals.get(index)?,
                })
            })
            .collect();
        let salt = session.mask_salt(&self.params, &self.shared);
        let mut interpolation = Interpolation::default();
        let mut masks = Vec::new();
        for owner in session.topology.bucket_members(bucket as u32) {
            if !self.shared.contains(*owner) {
                continue;
            }
            let secret = self.restore(session, *owner, &responders, &mut interpolation)?;
            if self.survivors.contains(*owner) {
                masks.push((self_mask(&secret, &salt, *owner), Sign::Subtract));
            } else {
                self.pair_masks(session, *owner, &secret, &salt, &mut masks)?;
            }
            if masks.len() >= BATCH {
                mask::apply(&mut sum, &masks, self.threads);
                masks.clear();
            }
        }
        mask::apply(&mut sum, &masks, self.threads);
        if sum.meta(0) != members.len() as u64 {
            return Err(wrong("its count of vectors is another"));
        }
        match sum.padding_is_zero() {
            true => Ok(sum),
            false => Err(wrong("its padding is not zero")),
        }
    }

    /// The masks between a dropout and the survivors next to it, as they stand in the sum, the other way round.
    fn pair_masks(
        &self,
        session: &Session,
        dropout: u32,
        r: &[u8; 32],
        salt: &[u8; 32],
        masks: &mut Vec<(MaskKey, Sign)>,
    ) -> Result<(), Failure> {
        let pairs = PairMasks::new(r);
        for survivor in session.neighbours_in(dropout, &self.survivors) {
            let advert = session.advert(survivor);
            let key = advert.and_then(|advert| pairs.with(&advert.mask, salt, (dropout, survivor)));
            // A survivor has added its mask with whoever comes after it.
            let sign = match dropout > survivor {
                true => Sign::Subtract,
                false => Sign::Add,
            };
            masks.push((key.ok_or(Failure::Shares(dropout))?, sign));
        }
        Ok(())
    }

    /// The secret of `owner`: b if it survived, r if not. Wrong shares are found by what the owner said in public, and
    /// corrected if there are enough others.
    fn restore(
        &self,
        session: &Session,
        owner: u32,
        responders: &[Responder<'_>],
        interpolation: &mut Interpolation,
    ) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let threshold = self.params.threshold as usize;
        let lost = Failure::Shares(owner);
        let is_right = |secret: &[u8; 32]| match self.survivors.contains(owner) {
            true => {
                let said = self.commitments.get(&owner);
                said == Some(&commitment(secret, &session.id, owner))
            }
            false => {
                let said = session.advert(owner).map(|advert| advert.mask);
                said == Some(mask_public(secret))
            }
        };
        let held: Vec<(u32, Share)> = responders
            .iter()
            .filter_map(|responder| Some((responder.index, responder.share_of(owner)?)))
            .collect();
        if held.len() < threshold {
            return Err(lost);
        }
        let points: Vec<u32> = held.iter().map(|(point, _)| *point).collect();
        let shares: Vec<&Share> = held.iter().map(|(_, share)| share).collect();
        let first = interpolation.secret(&points[..threshold], &shares[..threshold]);
        if let Some(secret) = first.filter(|secret| is_right(secret)) {
            return Ok(secret);
        }
        let corrected = correct(&points, &shares, threshold).ok_or(lost.clone())?;
        let secret = Zeroizing::new(corrected.secret);
        match is_right(&secret) {
            true => Ok(secret),
            false => Err(lost),
        }
    }
}
