//! Changes to the messages of a running session, and what the client makes of them.

use super::*;

/// 7 members of whom 2 may be corrupt; the threshold is 5.
pub(super) fn world() -> World {
    let world = World::new(7, 5, Mode::Malicious, 11);
    assert_eq!(world.params.threshold, 5);
    world
}

pub(super) fn drops(gone: &[(u32, Kind)]) -> Drops {
    gone.iter().copied().collect()
}

/// Joins with the changed parameters, signed by the server.
pub(super) fn joins(change: impl Fn(&mut Params)) -> Abort {
    let mut world = world();
    let mut params = world.params.clone();
    change(&mut params);
    let bytes = world.proposal(&params);
    world.join(0, &bytes).unwrap_err()
}

/// Joins as a client that asks for more, or remembers something.
pub(super) fn joins_as(change: impl Fn(&mut Policy, &mut Record, &mut Work)) -> Abort {
    let mut world = world();
    let (mut policy, mut record, mut work) = (world.policy(0), Record::default(), world.work());
    change(&mut policy, &mut record, &mut work);
    let bytes = world.proposal(&world.params);
    let secrets = Secrets::draw(&mut world.rng);
    Client::join(Arc::new(policy), &record, &work, &bytes, secrets, NOW).unwrap_err()
}

/// Client 0 gets the changed message at this point; it must then be over and say nothing any more.
pub(super) fn gets(
    kind: Kind,
    gone: &[(u32, Kind)],
    change: impl Fn(&World, &View, &mut ServerMessage),
) -> Abort {
    let mut world = world();
    let mut stand = world.until(kind, &drops(gone));
    let honest = stand.pending[&0].clone();
    let mut message = stand.message(0);
    change(&world, &View::of(&stand), &mut message);
    let changed = message.encode(world.header());
    assert_ne!(changed, honest, "nothing was changed");
    let abort = world.hand(&mut stand.clients, 0, &changed).unwrap_err();
    is_gone(&mut stand, &[&changed, &honest]);
    abort
}

/// Client 0 gets these bytes at this point.
pub(super) fn gets_bytes(kind: Kind, change: impl Fn(&Stand, Vec<u8>) -> Vec<u8>) -> Abort {
    let mut world = world();
    let mut stand = world.until(kind, &Drops::new());
    let honest = stand.pending[&0].clone();
    let changed = change(&stand, honest.clone());
    let abort = world.hand(&mut stand.clients, 0, &changed).unwrap_err();
    is_gone(&mut stand, &[&changed, &honest]);
    abort
}

/// Client 0 answers nothing that it has seen or should have seen, and has nothing to save.
pub(super) fn is_gone(stand: &mut Stand, messages: &[&[u8]]) {
    let seen: Vec<Vec<u8>> = stand
        .down
        .iter()
        .map(|(_, message)| message.clone())
        .collect();
    let end = ServerMessage::Abandoned(1).encode(Header {
        round: stand.server.params().round,
        attempt: stand.server.params().attempt,
    });
    let client = stand.clients.get_mut(&0).unwrap();
    assert!(client.is_over() && !client.is_ready());
    assert!(client.save(NOW).is_none());
    let layout = client.layout();
    assert!(client.mask(Vector::zero(layout), 1, NOW).is_err());
    for message in seen
        .iter()
        .map(Vec::as_slice)
        .chain(messages.iter().copied())
        .chain([end.as_slice()])
    {
        match client.receive(message, NOW) {
            Ok(Step::Ignored) | Err(_) => {}
            Ok(step) => panic!("{step:?}"),
        }
    }
}

pub(super) fn is_late(kind: Kind) -> Abort {
    let mut world = world();
    world.params.deadlines = [1000, 2000, 3000, 4000];
    let mut stand = world.until(kind, &Drops::new());
    let message = stand.pending[&0].clone();
    let client = stand.clients.get_mut(&0).unwrap();
    let (last, deadline) = match kind {
        Kind::Roster => ("the shares", 1000),
        Kind::Deliver => ("the masked vector", 2000),
        Kind::Survivors => ("the acknowledgement", 3000),
        _ => ("the reveal", 4000),
    };
    // A copy that is asked in time goes on.
    let saved = client.save(NOW).unwrap();
    let policy = Arc::new(world.policy(0));
    let mut twin = Client::restore(policy, client.record(), &saved, NOW).unwrap();
    let answer = |client: &mut Client, now| match client.receive(&message, now)? {
        Step::Ready => client.mask(world.vectors[0].clone(), 1, now),
        step => Ok(step),
    };
    let (in_time, late) = (
        Duration::from_millis(deadline),
        Duration::from_millis(deadline + 1),
    );
    assert!(matches!(answer(&mut twin, in_time), Ok(Step::Send(_))));
    let abort = answer(client, late).unwrap_err();
    assert_eq!(abort, Abort::Deadline(last));
    is_gone(&mut stand, &[&message]);
    abort
}

/// In mode S a signature is zeros: a message has one form.
pub(super) fn signed_in_mode_s(kind: Kind) -> Abort {
    let mut world = World::new(7, 5, Mode::SemiHonest, 11);
    let mut stand = world.until(kind, &Drops::new());
    let mut message = stand.message(0);
    match &mut message {
        ServerMessage::Roster { adverts, .. } => adverts[3].signature[0] = 1,
        ServerMessage::Result { signature, .. } => signature[0] = 1,
        other => panic!("{other:?}"),
    }
    let changed = message.encode(world.header());
    let abort = world.hand(&mut stand.clients, 0, &changed).unwrap_err();
    is_gone(&mut stand, &[&changed]);
    abort
}

pub(super) fn adverts(message: &mut ServerMessage) -> &mut Vec<Advert> {
    match message {
        ServerMessage::Roster { adverts, .. } => adverts,
        other => panic!("{other:?}"),
    }
}

/// Member 3 colludes: it signs what it likes.
pub(super) fn advert_of_3(
    world: &World,
    view: &View,
    message: &mut ServerMessage,
    change: impl Fn(&mut Advert),
) {
    let advert = &mut adverts(message)[3];
    change(advert);
    advert.signature = sign(
        &world.identity_secrets[3],
        Kind::Advertise,
        &view.params_hash,
        3,
        &[&3_u32.to_le_bytes(), &advert.channel, &advert.mask],
    );
}

pub(super) fn advertised(message: &mut ServerMessage, keep: impl Fn(u32) -> bool) {
    let ServerMessage::Roster {
        advertised,
        adverts,
    } = message
    else {
        panic!("{message:?}");
    };
    adverts.retain(|advert| keep(advert.index));
    (0..7)
        .filter(|index| !keep(*index))
        .for_each(|index| advertised.remove(index));
}

pub(super) fn delivered(
    message: &mut ServerMessage,
) -> (&mut Members, &mut Vec<[u8; CIPHERTEXT_LEN]>) {
    match message {
        ServerMessage::Deliver {
            shared,
            ciphertexts,
        } => (shared, ciphertexts),
        other => panic!("{other:?}"),
    }
}

pub(super) fn survivors(
    message: &mut ServerMessage,
) -> (&mut Members, &mut [u8; 32], &mut Vec<[u8; 32]>) {
    match message {
        ServerMessage::Survivors {
            survivors,
            bodies_root,
            proof,
        } => (survivors, bodies_root, proof),
        other => panic!("{other:?}"),
    }
}

pub(super) fn acks(message: &mut ServerMessage) -> &mut Vec<(u32, SignatureBytes)> {
    match message {
        ServerMessage::Acks(acks) => acks,
        other => panic!("{other:?}"),
    }
}

/// The survivors without some, with a tree that fits, from the server that has all vectors.
pub(super) fn fewer_survivors(view: &View, message: &mut ServerMessage, keep: &[u32]) {
    let tree = bodies_tree(view, keep);
    let (set, root, proof) = survivors(message);
    *set = Members::none(7);
    keep.iter().for_each(|index| set.insert(*index));
    *root = tree.root();
    *proof = tree.proof(0);
}
