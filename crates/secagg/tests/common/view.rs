//! What a server and the members that collude with it can compute from a session: the derivations of
//! `docs/secure-aggregation-wire.md` written once more, from public calls alone.

use std::collections::BTreeMap;

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use cloister_secagg::lanes::Vector;
use cloister_secagg::mask::{self, MaskKey, Sign};
use cloister_secagg::members::Members;
use cloister_secagg::merkle;
use cloister_secagg::message::{Advert, ClientMessage, Kind, ServerMessage};
use cloister_secagg::shamir::{Lagrange, SHARE_LEN, Share};
use cloister_secagg::{CIPHERTEXT_LEN, Params, Secrets, SignatureBytes};
use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::Stand;

pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// A signature by any key, on anything.
pub(crate) fn sign(
    secret: &[u8; 32],
    kind: Kind,
    context: &[u8; 32],
    sender: u32,
    body: &[&[u8]],
) -> SignatureBytes {
    let mut message = b"flsa1-sig\0".to_vec();
    message.push(kind as u8);
    message.extend(context);
    message.extend(sender.to_le_bytes());
    message.extend(hash(body));
    SigningKey::from_bytes(secret).sign(&message).to_bytes()
}

fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand_multi_info(info, &mut out)
        .unwrap();
    out
}

fn agree(secret: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    StaticSecret::from(*secret)
        .diffie_hellman(&PublicKey::from(*other))
        .to_bytes()
}

fn mask_secret(r: &[u8; 32]) -> [u8; 32] {
    derive(&[], r, &[b"flsa1/sk"])
}

/// The shares of b and r that a member holds of another's.
pub(crate) type Pair = [[u8; SHARE_LEN]; 2];

/// The public side of a session as its messages show it.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) params: Params,
    pub(crate) params_hash: [u8; 32],
    pub(crate) id: [u8; 32],
    pub(crate) adverts: BTreeMap<u32, Advert>,
    pub(crate) shared: Members,
    pub(crate) commitments: BTreeMap<u32, [u8; 32]>,
    /// From whom, to whom.
    pub(crate) ciphertexts: BTreeMap<(u32, u32), Vec<u8>>,
    pub(crate) vectors: BTreeMap<u32, Vector>,
}

impl View {
    /// From all messages up to now; a complete graph.
    pub(crate) fn of(stand: &Stand) -> Self {
        let params = stand.server.params().clone();
        let n = params.members();
        let layout = params.layout();
        let mut view = Self {
            params_hash: params.hash(),
            id: [0; 32],
            adverts: BTreeMap::new(),
            shared: Members::none(n),
            commitments: BTreeMap::new(),
            ciphertexts: BTreeMap::new(),
            vectors: BTreeMap::new(),
            params,
        };
        let pending = stand.pending.values();
        for message in stand.down.iter().map(|(_, message)| message).chain(pending) {
            match ServerMessage::decode(message, n).unwrap().0 {
                ServerMessage::Roster { adverts, .. } => {
                    let by_index = |advert: Advert| (advert.index, advert);
                    view.adverts = adverts.into_iter().map(by_index).collect();
                }
                ServerMessage::Deliver { shared, .. } => view.shared = shared,
                _ => {}
            }
        }
        view.id = view.session_id();
        for (_, message) in &stand.up {
            match ClientMessage::decode(message, n, layout.len()).unwrap().0 {
                ClientMessage::Shares {
                    index,
                    commitment,
                    ciphertexts,
                    ..
                } => {
                    view.commitments.insert(index, commitment);
                    let to = view.adverts.keys().filter(|to| **to != index);
                    for (to, sealed) in to.zip(ciphertexts) {
                        view.ciphertexts.insert((index, *to), sealed.to_vec());
                    }
                }
                ClientMessage::Masked { index, vector, .. } => {
                    let vector = Vector::from_bytes(layout, vector.to_vec()).unwrap();
                    view.vectors.insert(index, vector);
                }
                _ => {}
            }
        }
        view
    }

    /// From the keys as they are here.
    pub(crate) fn session_id(&self) -> [u8; 32] {
        let mut advertised = Members::none(self.params.members());
        self.adverts
            .keys()
            .for_each(|index| advertised.insert(*index));
        let leaf = |advert: &Advert| merkle::leaf(&[&advert.to_bytes()]);
        let leaves: Vec<[u8; 32]> = self.adverts.values().map(leaf).collect();
        let root = merkle::root(&leaves);
        hash(&[b"flsa1-sid", &self.params_hash, &root, advertised.bytes()])
    }

    /// What masks are bound to.
    pub(crate) fn salt(&self) -> [u8; 32] {
        let params = &self.params;
        hash(&[
            &self.id,
            &self.shared.hash(),
            &params.model_hash,
            &params.config_hash,
            &params.round.to_le_bytes(),
        ])
    }

    /// The shares that `from` sent to the holder of the channel secret `c`, whose index is `to`.
    pub(crate) fn opened(&self, from: u32, to: u32, c: &[u8; 32]) -> Option<Pair> {
        let agreement = agree(c, &self.adverts[&from].channel);
        let info: [&[u8]; 3] = [b"flsa1/enc", &from.to_le_bytes(), &to.to_le_bytes()];
        let key = derive(&self.id, &agreement, &info);
        let sealed = self.ciphertexts.get(&(from, to))?;
        let plain = ChaCha20Poly1305::new(&key.into())
            .decrypt(&Nonce::default(), sealed.as_slice())
            .ok()?;
        let shares = plain.as_chunks::<SHARE_LEN>().0;
        Some([shares[0], shares[1]])
    }

    /// Shares from the holder of the channel secret `c` for another member.
    pub(crate) fn seal(
        &self,
        from: u32,
        to: u32,
        c: &[u8; 32],
        pair: Pair,
    ) -> [u8; CIPHERTEXT_LEN] {
        let agreement = agree(c, &self.adverts[&to].channel);
        let info: [&[u8]; 3] = [b"flsa1/enc", &from.to_le_bytes(), &to.to_le_bytes()];
        let key = derive(&self.id, &agreement, &info);
        let sealed =
            ChaCha20Poly1305::new(&key.into()).encrypt(&Nonce::default(), pair.as_flattened());
        sealed.unwrap().try_into().unwrap()
    }

    /// Whether b is that of `owner`, by its commitment.
    pub(crate) fn is_b(&self, owner: u32, b: &[u8; 32]) -> bool {
        let said = hash(&[b"flsa1/cb", &self.id, &owner.to_le_bytes(), b]);
        self.commitments.get(&owner) == Some(&said)
    }

    /// Whether r is that of `owner`, by its public key.
    pub(crate) fn is_r(&self, owner: u32, r: &[u8; 32]) -> bool {
        let public = PublicKey::from(&StaticSecret::from(mask_secret(r)));
        self.adverts[&owner].mask == public.to_bytes()
    }

    pub(crate) fn self_mask(&self, b: &[u8; 32], index: u32) -> MaskKey {
        let info: [&[u8]; 2] = [b"flsa1/self", &index.to_le_bytes()];
        MaskKey::from_bytes(&derive(&self.salt(), b, &info))
    }

    /// The mask of `own`, whose secret is r, with `other`.
    pub(crate) fn pair_mask(&self, r: &[u8; 32], own: u32, other: u32) -> MaskKey {
        let agreement = agree(&mask_secret(r), &self.adverts[&other].mask);
        let (low, high) = (own.min(other), own.max(other));
        let info: [&[u8]; 3] = [b"flsa1/mask", &low.to_le_bytes(), &high.to_le_bytes()];
        MaskKey::from_bytes(&derive(&self.salt(), &agreement, &info))
    }

    /// All masks of a member in its vector.
    pub(crate) fn masks_of(&self, index: u32, secrets: &Secrets) -> Vec<(MaskKey, Sign)> {
        let mut masks = vec![(self.self_mask(&secrets.b, index), Sign::Add)];
        for other in self.shared.iter().filter(|other| *other != index) {
            let key = self.pair_mask(&secrets.r, index, other);
            masks.push((key, sign_in(index, other)));
        }
        masks
    }
}

/// How the mask of a pair stands in the vector of `own`.
pub(crate) fn sign_in(own: u32, other: u32) -> Sign {
    match other > own {
        true => Sign::Add,
        false => Sign::Subtract,
    }
}

pub(crate) fn opposite(sign: Sign) -> Sign {
    match sign {
        Sign::Add => Sign::Subtract,
        Sign::Subtract => Sign::Add,
    }
}

/// What an attacker has gathered: whole secrets of those who collude, and shares of others'.
#[derive(Default)]
pub(crate) struct Loot {
    pub(crate) secrets: BTreeMap<u32, Secrets>,
    /// Of whose b, or r: the holders' indices and their shares.
    pub(crate) b: BTreeMap<u32, BTreeMap<u32, [u8; SHARE_LEN]>>,
    pub(crate) r: BTreeMap<u32, BTreeMap<u32, [u8; SHARE_LEN]>>,
}

impl Loot {
    /// What these members know: their secrets, and the shares that were sent to them.
    pub(crate) fn of(view: &View, colluders: &BTreeMap<u32, Secrets>) -> Self {
        let mut loot = Self {
            secrets: colluders.clone(),
            ..Self::default()
        };
        for (holder, secrets) in colluders {
            for owner in view.adverts.keys().filter(|owner| *owner != holder) {
                if let Some(pair) = view.opened(*owner, *holder, &secrets.c) {
                    loot.add(*owner, *holder, pair);
                }
            }
        }
        loot
    }

    pub(crate) fn add(&mut self, owner: u32, holder: u32, [b, r]: Pair) {
        self.b.entry(owner).or_default().insert(holder, b);
        self.r.entry(owner).or_default().insert(holder, r);
    }

    /// What a member revealed when it believed these to be the survivors.
    pub(crate) fn add_reveal(&mut self, view: &View, survivors: &Members, reveal: &[u8]) {
        let n = view.params.members();
        let message = ClientMessage::decode(reveal, n, 0).unwrap().0;
        let ClientMessage::Reveal { index, shares, .. } = message else {
            panic!("{message:?}");
        };
        for (owner, share) in view.shared.iter().zip(shares) {
            let kind = match survivors.contains(owner) {
                true => &mut self.b,
                false => &mut self.r,
            };
            kind.entry(owner).or_default().insert(index, share);
        }
    }

    /// Interpolates with the shares that there are, `t` at most: right with t, and a guess with fewer.
    fn interpolated(held: Option<&BTreeMap<u32, [u8; SHARE_LEN]>>, t: usize) -> Option<[u8; 32]> {
        let held = held?;
        let points: Vec<u32> = held.keys().copied().take(t).collect();
        let shares: Vec<Share> = held
            .values()
            .take(t)
            .filter_map(Share::from_bytes)
            .collect();
        let shares: Vec<&Share> = shares.iter().collect();
        Lagrange::at_zero(&points)?.secret(&shares)
    }

    /// b of `owner`; with `guess`, also what too few shares make of it.
    pub(crate) fn b(&self, view: &View, owner: u32, guess: bool) -> Option<[u8; 32]> {
        if let Some(secrets) = self.secrets.get(&owner) {
            return Some(secrets.b);
        }
        let b = Self::interpolated(self.b.get(&owner), view.params.threshold as usize)?;
        (guess || view.is_b(owner, &b)).then_some(b)
    }

    /// r of `owner`; as [`Self::b`].
    pub(crate) fn r(&self, view: &View, owner: u32, guess: bool) -> Option<[u8; 32]> {
        if let Some(secrets) = self.secrets.get(&owner) {
            return Some(secrets.r);
        }
        let r = Self::interpolated(self.r.get(&owner), view.params.threshold as usize)?;
        (guess || view.is_r(owner, &r)).then_some(r)
    }

    /// The victim's vector without all masks that this knows, and whether those are all.
    pub(crate) fn residual(&self, view: &View, victim: u32, guess: bool) -> (Vector, bool) {
        let mut masks = Vec::new();
        let mut all = true;
        match self.b(view, victim, guess) {
            Some(b) => masks.push((view.self_mask(&b, victim), Sign::Subtract)),
            None => all = false,
        }
        let own = self.r(view, victim, guess);
        for other in view.shared.iter().filter(|other| *other != victim) {
            let key = match (own, self.r(view, other, false)) {
                (_, Some(r)) => view.pair_mask(&r, other, victim),
                (Some(r), _) => view.pair_mask(&r, victim, other),
                _ => {
                    all = false;
                    continue;
                }
            };
            masks.push((key, opposite(sign_in(victim, other))));
        }
        let mut vector = view.vectors[&victim].clone();
        mask::apply(&mut vector, &masks, 1);
        (vector, all)
    }
}
