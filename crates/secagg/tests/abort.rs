//! Each reason for which a client leaves, a server turns a message away, or a session fails, brought about by changing real
//! messages of a running session. What the server signs is signed anew: these are lies of the server, not faults of the line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "abort/changes.rs"]
mod changes;
mod common;
#[path = "abort/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use changes::*;
use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::{Lane, LaneLayout, Vector};
use cloister_secagg::members::Members;
use cloister_secagg::merkle::{self, Tree};
use cloister_secagg::message::{Advert, ClientMessage, Header, Kind, ServerMessage};
use cloister_secagg::*;
use common::view::{View, sign};
use common::{Drops, NOW, Stand, World};

/// Tests, each with the code that it must end in, and the list of those codes.
macro_rules! leaves_with {
    ($($code:literal: { $($name:ident => $abort:expr;)* })*) => {
        $($(
            #[test]
            fn $name() {
                let abort: Abort = $abort;
                assert_eq!(abort.name(), $code, "{abort}");
            }
        )*)*
        const RAISED: &[&str] = &[$($code),*];
    };
}

leaves_with! {
    "ERR_SIG": {
        parameters_that_the_server_did_not_sign_are_left => {
            let mut world = world();
            let mut bytes = world.proposal(&world.params);
            let nonce = 13 + 12 + 28;
            bytes[nonce] ^= 1;
            world.join(0, &bytes).unwrap_err()
        };
        a_signature_where_nothing_is_signed_is_left => {
            let mut world = World::new(7, 5, Mode::SemiHonest, 1);
            let mut bytes = world.proposal(&world.params);
            *bytes.last_mut().unwrap() = 1;
            world.join(0, &bytes).unwrap_err()
        };
        keys_that_are_signed_where_nothing_is_are_left => signed_in_mode_s(Kind::Roster);
        a_result_that_is_signed_where_nothing_is_is_left => signed_in_mode_s(Kind::Result);
        a_roster_with_a_changed_mask_key_is_left =>
            gets(Kind::Roster, &[], |_, _, message| adverts(message)[3].mask[5] ^= 1);
        a_roster_with_a_changed_channel_key_is_left =>
            gets(Kind::Roster, &[], |_, _, message| adverts(message)[3].channel[5] ^= 1);
        a_roster_with_keys_signed_by_another_member_is_left =>
            gets(Kind::Roster, &[], |world, view, message| {
                let advert = &mut adverts(message)[2];
                advert.channel[0] ^= 1;
                let body: [&[u8]; 3] = [&2_u32.to_le_bytes(), &advert.channel, &advert.mask];
                let secret = &world.identity_secrets[3];
                advert.signature = sign(secret, Kind::Advertise, &view.params_hash, 2, &body);
            });
        a_roster_with_keys_of_another_round_is_left =>
            gets(Kind::Roster, &[], |world, _, message| {
                let advert = &mut adverts(message)[2];
                let body: [&[u8]; 3] = [&2_u32.to_le_bytes(), &advert.channel, &advert.mask];
                let secret = &world.identity_secrets[2];
                advert.signature = sign(secret, Kind::Advertise, &[8; 32], 2, &body);
            });
        a_result_with_another_hash_is_left =>
            gets(Kind::Result, &[], |_, _, message| match message {
                ServerMessage::Result { result_hash, .. } => result_hash[0] ^= 1,
                other => panic!("{other:?}"),
            });
        a_result_signed_by_a_member_is_left =>
            gets(Kind::Result, &[], |world, view, message| match message {
                ServerMessage::Result { survivors_hash, result_hash, next_model_hash, signature, .. } => {
                    let body: [&[u8]; 3] = [survivors_hash, result_hash, next_model_hash];
                    *signature = sign(&world.identity_secrets[1], Kind::Result, &view.id, u32::MAX, &body);
                }
                other => panic!("{other:?}"),
            });
    }
    "ERR_ROSTER": {
        parameters_of_another_roster_are_left => joins(|params| params.roster_hash[0] ^= 1);
        a_cohort_out_of_order_is_left => joins(|params| params.cohort.swap(2, 3));
        a_cohort_with_a_member_twice_is_left => joins(|params| params.cohort[3] = 2);
        a_cohort_beyond_the_roster_is_left => joins(|params| params.cohort[6] = 7);
        a_member_whose_entry_has_run_out_is_left => joins_as(|policy, _, _| policy.today = 101);
        a_roster_that_lists_another_key_for_the_client_is_left =>
            joins_as(|policy, _, _| policy.identity = Some(Identity::from_secret(&[5; 32])));
        a_session_that_trusts_the_client_without_a_key_is_left =>
            joins_as(|policy, _, _| policy.identity = None);
        a_roster_with_other_keys_for_the_client_is_left =>
            gets(Kind::Roster, &[], |_, _, message| adverts(message)[0].mask[0] ^= 1);
        a_roster_with_another_signature_of_the_client_is_left =>
            gets(Kind::Roster, &[], |_, _, message| adverts(message)[0].signature[0] ^= 1);
        a_roster_in_another_order_is_left =>
            gets(Kind::Roster, &[], |_, _, message| adverts(message).swap(3, 4));
        a_roster_that_names_others_than_it_shows_is_left =>
            gets(Kind::Roster, &[], |_, _, message| adverts(message)[3].index = 4);
        shares_of_fewer_than_are_named_are_left =>
            gets(Kind::Deliver, &[], |_, _, message| { delivered(message).1.pop(); });
        shares_of_more_than_are_named_are_left =>
            gets(Kind::Deliver, &[], |_, _, message| delivered(message).1.push([0; CIPHERTEXT_LEN]));
    }
    "ERR_DUP_PK": {
        a_channel_key_that_stands_twice_is_left =>
            gets(Kind::Roster, &[], |world, view, message| {
                let other = adverts(message)[2].channel;
                advert_of_3(world, view, message, |advert| advert.channel = other);
            });
        a_mask_key_that_stands_twice_is_left =>
            gets(Kind::Roster, &[], |world, view, message| {
                let other = adverts(message)[2].mask;
                advert_of_3(world, view, message, |advert| advert.mask = other);
            });
        a_mask_key_that_is_the_clients_own_is_left =>
            gets(Kind::Roster, &[], |world, view, message| {
                let own = adverts(message)[0].mask;
                advert_of_3(world, view, message, |advert| advert.mask = own);
            });
        a_channel_key_that_is_a_mask_key_is_left =>
            gets(Kind::Roster, &[], |world, view, message| {
                advert_of_3(world, view, message, |advert| advert.channel = advert.mask);
            });
    }
    "ERR_SMALL_COHORT": {
        fewer_survivors_than_the_policy_asks_for_are_left =>
            joins_as(|policy, _, _| policy.minimum_cohort = 4);
        a_least_number_of_two_is_left => {
            let mut world = world();
            let mut params = world.params.clone();
            params.least_survivors = 2;
            let bytes = world.proposal(&params);
            let policy = Policy { minimum_cohort: 0, ..world.policy(0) };
            let secrets = Secrets::draw(&mut world.rng);
            Client::join(Arc::new(policy), &Record::default(), &world.work(), &bytes, secrets, NOW).unwrap_err()
        };
        a_cohort_of_two_is_left => joins(|params| params.cohort.truncate(2));
        a_cohort_below_its_own_least_number_is_left => joins(|params| params.least_survivors = 8);
        buckets_of_two_are_left => joins(|params| params.graph = Graph::Buckets { count: 3 });
        a_roster_of_too_few_is_left =>
            gets(Kind::Roster, &[], |_, _, message| advertised(message, |index| index < 4));
        too_few_who_shared_are_left =>
            gets(Kind::Deliver, &[], |_, _, message| {
                let (shared, ciphertexts) = delivered(message);
                (4..7).for_each(|index| shared.remove(index));
                ciphertexts.truncate(3);
            });
        too_few_survivors_are_left =>
            gets(Kind::Survivors, &[], |_, view, message| fewer_survivors(view, message, &[0, 1, 2, 3]));
    }
    "ERR_THRESHOLD": {
        a_threshold_below_the_floor_is_left => joins(|params| params.threshold = 4);
        a_threshold_of_none_is_left => joins(|params| params.threshold = 0);
        a_threshold_above_the_cohort_is_left => joins(|params| params.threshold = 8);
        a_threshold_for_fewer_corrupt_members_is_left =>
            joins(|params| { params.corrupt_ppm = 100_000; params.threshold = 5; });
        shares_of_corrupt_members_and_dropouts_that_are_all_are_left =>
            joins(|params| { params.corrupt_ppm = 500_000; params.dropout_ppm = 500_000; params.threshold = 7; });
        a_sparse_graph_under_a_lying_server_is_left =>
            joins(|params| params.graph = Graph::Harary { degree: 4 });
        a_sparse_graph_under_a_lying_server_is_left_however_dense => {
            let mut world = World::new(100, 5, Mode::Malicious, 1);
            let (degree, threshold) = graph::find(100, &world.params.assumptions()).unwrap();
            world.params.graph = Graph::Harary { degree };
            world.params.threshold = threshold;
            let bytes = world.proposal(&world.params);
            world.join(0, &bytes).unwrap_err()
        };
        a_sparse_graph_that_is_too_sparse_is_left => {
            let mut world = World::new(30, 5, Mode::SemiHonest, 1);
            world.params.graph = Graph::Harary { degree: 2 };
            world.params.threshold = 2;
            let bytes = world.proposal(&world.params);
            world.join(0, &bytes).unwrap_err()
        };
        a_sparse_graph_of_little_security_is_left => {
            let mut world = World::new(100, 5, Mode::SemiHonest, 1);
            world.params.security_bits = 20;
            let (degree, threshold) = graph::find(100, &world.params.assumptions()).unwrap();
            world.params.graph = Graph::Harary { degree };
            world.params.threshold = threshold;
            let bytes = world.proposal(&world.params);
            world.join(0, &bytes).unwrap_err()
        };
    }
    "ERR_REPLAY": {
        the_same_round_and_attempt_are_left =>
            joins_as(|_, record, _| *record = Record { task: common::TASK, round: 1, attempt: 1, ..*record });
        an_earlier_attempt_is_left =>
            joins_as(|_, record, _| *record = Record { task: common::TASK, round: 1, attempt: 2, ..*record });
        an_earlier_round_is_left =>
            joins_as(|_, record, _| *record = Record { task: common::TASK, round: 2, attempt: 0, ..*record });
    }
    "ERR_MODEL_HASH": {
        parameters_for_another_model_are_left => joins_as(|_, _, work| work.model_hash[31] ^= 1);
    }
    "ERR_CONFIG": {
        a_session_that_trusts_the_server_is_left => joins(|params| {
            params.mode = Mode::SemiHonest;
        });
        parameters_of_another_run_are_left => joins(|params| params.task[0] ^= 1);
        parameters_for_another_training_are_left => joins_as(|_, _, work| work.config_hash[0] ^= 1);
        parameters_for_longer_vectors_are_left => joins(|params| params.model_lanes += 1);
        parameters_for_more_figures_are_left => joins(|params| params.meta_lanes += 1);
        parameters_for_figures_alone_are_left => joins(|params| params.model_lanes = 0);
        parameters_without_a_count_are_left => joins(|params| params.meta_lanes = 0);
        parameters_with_too_many_figures_are_left => joins(|params| params.meta_lanes = 257);
        parameters_with_a_clip_of_nothing_are_left => joins(|params| params.clip = 0.0);
        parameters_with_a_clip_that_is_no_number_are_left => joins(|params| params.clip = f32::NAN);
        parameters_with_no_weight_are_left => joins(|params| params.most_weight = 0);
        parameters_under_the_header_of_another_round_are_left => {
            let mut world = world();
            let mut bytes = world.proposal(&world.params);
            bytes[1] = 2;
            world.join(0, &bytes).unwrap_err()
        };
        parameters_under_the_header_of_another_attempt_are_left => {
            let mut world = world();
            let mut bytes = world.proposal(&world.params);
            bytes[9] = 2;
            world.join(0, &bytes).unwrap_err()
        };
        a_vector_of_another_layout_is_left => {
            let mut world = world();
            let mut stand = world.until(Kind::Deliver, &Drops::new());
            let message = stand.pending[&0].clone();
            let client = stand.clients.get_mut(&0).unwrap();
            assert_eq!(client.receive(&message, NOW), Ok(Step::Ready));
            let layout = LaneLayout { model: 6, ..client.layout() };
            let abort = client.mask(Vector::zero(layout), 1, NOW).unwrap_err();
            is_gone(&mut stand, &[&message]);
            abort
        };
        a_result_of_another_session_is_left =>
            gets(Kind::Result, &[], |world, _, message| match message {
                ServerMessage::Result { session, survivors_hash, result_hash, next_model_hash, signature } => {
                    *session = [3; 32];
                    let body: [&[u8]; 3] = [survivors_hash, result_hash, next_model_hash];
                    *signature = sign(&world.server_secret, Kind::Result, session, u32::MAX, &body);
                }
                other => panic!("{other:?}"),
            });
        a_result_of_other_survivors_is_left =>
            gets(Kind::Result, &[], |world, view, message| match message {
                ServerMessage::Result { survivors_hash, result_hash, next_model_hash, signature, .. } => {
                    *survivors_hash = [3; 32];
                    let body: [&[u8]; 3] = [survivors_hash, result_hash, next_model_hash];
                    *signature = sign(&world.server_secret, Kind::Result, &view.id, u32::MAX, &body);
                }
                other => panic!("{other:?}"),
            });
    }
    "ERR_OVERFLOW_PARAMS": {
        codes_that_overflow_in_the_sum_are_left => joins(|params| params.bits += 1);
        codes_wider_than_a_lane_are_left => joins(|params| params.bits = 33);
        codes_for_narrower_lanes_are_left => joins(|params| params.lane = Lane::U16);
    }
    "ERR_SHARE_OPEN": {
        shares_in_another_order_are_left =>
            gets(Kind::Deliver, &[], |_, _, message| delivered(message).1.swap(0, 1));
        a_changed_share_is_left =>
            gets(Kind::Deliver, &[], |_, _, message| delivered(message).1[5][95] ^= 1);
        shares_for_another_member_are_left => gets_bytes(Kind::Deliver, |stand, _| stand.pending[&1].clone());
        shares_that_come_back_to_their_sender_are_left =>
            gets(Kind::Deliver, &[], |_, view, message| {
                delivered(message).1[0] = view.ciphertexts[&(0, 1)].clone().try_into().unwrap();
            });
    }
    "ERR_U2_SHRINK": {
        sharers_who_never_advertised_are_left =>
            gets(Kind::Deliver, &[(6, Kind::Advertise)], |_, _, message| {
                let (shared, ciphertexts) = delivered(message);
                shared.insert(6);
                ciphertexts.push([0; CIPHERTEXT_LEN]);
            });
    }
    "ERR_U3_SHRINK": {
        survivors_who_never_shared_are_left =>
            gets(Kind::Survivors, &[(6, Kind::Shares)], |_, _, message| survivors(message).0.insert(6));
    }
    "ERR_SELF_MISSING": {
        a_cohort_without_the_client_is_left => joins_as(|policy, _, _| {
            // It stands in the roster, and is not called.
            policy.place = 7;
        });
        a_roster_without_the_client_is_left =>
            gets(Kind::Roster, &[], |_, _, message| advertised(message, |index| index != 0));
        sharers_without_the_client_are_left =>
            gets(Kind::Deliver, &[], |_, _, message| delivered(message).0.remove(0));
        survivors_without_the_client_are_left =>
            gets(Kind::Survivors, &[], |_, view, message| fewer_survivors(view, message, &[1, 2, 3, 4, 5, 6]));
    }
    "ERR_BODY_HASH": {
        a_sum_with_another_vector_of_the_client_is_left =>
            gets(Kind::Survivors, &[], |_, view, message| {
                let mut others = view.clone();
                let other = others.vectors[&1].clone();
                others.vectors.insert(0, other);
                fewer_survivors(&others, message, &[0, 1, 2, 3, 4, 5, 6]);
            });
        a_root_of_other_vectors_is_left =>
            gets(Kind::Survivors, &[], |_, _, message| survivors(message).1[0] ^= 1);
        a_proof_that_is_none_is_left =>
            gets(Kind::Survivors, &[], |_, _, message| survivors(message).2[0][0] ^= 1);
        a_proof_for_fewer_vectors_is_left =>
            gets(Kind::Survivors, &[], |_, _, message| survivors(message).0.remove(6));
    }
    "ERR_ACKS": {
        one_acknowledgement_too_few_is_left => gets(Kind::Acks, &[], |_, _, message| acks(message).truncate(4));
        no_acknowledgement_is_left => gets(Kind::Acks, &[], |_, _, message| acks(message).clear());
        acknowledgements_counted_twice_are_left => gets(Kind::Acks, &[], |_, _, message| {
            let acks = acks(message);
            let first = acks[0];
            acks.truncate(4);
            acks.extend([first; 3]);
        });
        acknowledgements_under_another_name_are_left => gets(Kind::Acks, &[], |_, _, message| {
            let acks = acks(message);
            let first = acks[0].1;
            acks[4..].iter_mut().for_each(|ack| ack.1 = first);
        });
        acknowledgements_of_those_who_dropped_out_are_left =>
            gets(Kind::Acks, &[(6, Kind::Masked)], |world, view, message| {
                // Member 6 colludes: it acknowledges a sum that it is not in.
                let seen = ack_view(view, &[0, 1, 2, 3, 4, 5]);
                let body: [&[u8]; 2] = [&6_u32.to_le_bytes(), &seen];
                let signature = sign(&world.identity_secrets[6], Kind::Ack, &view.id, 6, &body);
                let acks = acks(message);
                acks.truncate(4);
                acks.push((6, signature));
            });
        acknowledgements_of_other_survivors_are_left =>
            gets(Kind::Acks, &[], |world, view, message| {
                let other = ack_view(view, &[0, 1, 2, 3, 4, 5]);
                for (index, signature) in &mut acks(message)[4..] {
                    let body: [&[u8]; 2] = [&index.to_le_bytes(), &other];
                    *signature = sign(&world.identity_secrets[*index as usize], Kind::Ack, &view.id, *index, &body);
                }
            });
    }
    "ERR_SECOND_REVEAL": {
        another_attempt_at_a_round_that_was_revealed_is_left =>
            joins_as(|_, record, _| {
                *record = Record { task: common::TASK, round: 1, attempt: 0, revealed: true, ..*record };
            });
    }
    "ERR_DEADLINE": {
        a_roster_that_comes_late_is_left => is_late(Kind::Roster);
        a_vector_that_is_ready_late_is_left => is_late(Kind::Deliver);
        survivors_that_come_late_are_left => is_late(Kind::Survivors);
        acknowledgements_that_come_late_are_left => is_late(Kind::Acks);
    }
    "ERR_ZERO_DH": {
        a_channel_key_of_small_order_is_left =>
            gets(Kind::Roster, &[], |world, view, message| {
                advert_of_3(world, view, message, |advert| advert.channel = [0; 32]);
            });
        a_mask_key_of_small_order_is_left => masks_with_a_key_of_small_order();
    }
    "ERR_STATE": {
        a_second_set_of_parameters_is_left => gets_bytes(Kind::Roster, |stand, _| {
            let mut params = stand.server.params().clone();
            params.nonce = [1; 32];
            world().proposal(&params)
        });
        survivors_before_the_shares_are_left => gets_bytes(Kind::Deliver, |stand, _| {
            let survivors = Members::none(7);
            let message = ServerMessage::Survivors { survivors, bodies_root: [0; 32], proof: Vec::new() };
            message.encode(Header { round: stand.server.params().round, attempt: 1 })
        });
        acknowledgements_before_the_survivors_are_left => gets(Kind::Survivors, &[], |_, _, message| {
            *message = ServerMessage::Acks(Vec::new());
        });
        a_result_before_the_reveal_is_left => gets(Kind::Acks, &[], |_, view, message| {
            *message = ServerMessage::Result {
                session: view.id,
                survivors_hash: [0; 32],
                result_hash: [0; 32],
                next_model_hash: [0; 32],
                signature: [0; 64],
            };
        });
        a_second_roster_is_left => gets(Kind::Deliver, &[], |_, view, message| {
            let mut advertised = Members::none(7);
            (0..7).for_each(|index| advertised.insert(index));
            let adverts = view.adverts.values().rev().copied().collect();
            *message = ServerMessage::Roster { advertised, adverts };
        });
        other_survivors_than_before_are_left => gets(Kind::Acks, &[], |_, view, message| {
            *message = ServerMessage::Survivors { survivors: Members::none(7), bodies_root: [0; 32], proof: Vec::new() };
            fewer_survivors(view, message, &[0, 1, 2, 3, 4, 5]);
        });
        a_vector_before_its_time_is_left => {
            let mut world = world();
            let mut stand = world.until(Kind::Deliver, &Drops::new());
            let vector = world.vectors[0].clone();
            let abort = stand.clients.get_mut(&0).unwrap().mask(vector, 1, NOW).unwrap_err();
            let honest = stand.pending[&0].clone();
            is_gone(&mut stand, &[&honest]);
            abort
        };
        a_second_vector_is_left => {
            let mut world = world();
            let mut stand = world.until(Kind::Survivors, &Drops::new());
            let vector = world.vectors[1].clone();
            let abort = stand.clients.get_mut(&0).unwrap().mask(vector, 1, NOW).unwrap_err();
            let honest = stand.pending[&0].clone();
            is_gone(&mut stand, &[&honest]);
            abort
        };
        a_session_that_begins_with_something_else_is_left => {
            let mut world = world();
            let bytes = ServerMessage::Abandoned(1).encode(world.header());
            world.join(0, &bytes).unwrap_err()
        };
    }
    "ERR_VERSION": {
        another_version_is_left => joins(|params| params.version = 2);
        another_suite_is_left => joins(|params| params.suite = 0x0081);
    }
    "ERR_FORMAT": {
        a_cut_message_is_left => gets_bytes(Kind::Roster, |_, mut honest| { honest.pop(); honest });
        a_longer_message_is_left => gets_bytes(Kind::Deliver, |_, mut honest| { honest.push(0); honest });
        a_set_beyond_the_cohort_is_left => gets_bytes(Kind::Survivors, |_, mut honest| { honest[13] |= 0x80; honest });
        bytes_of_no_kind_are_left => gets_bytes(Kind::Acks, |_, mut honest| { honest[0] = 14; honest });
        a_message_of_a_client_is_left => gets_bytes(Kind::Acks, |stand, _| stand.up.last().unwrap().1.clone());
        nothing_at_all_is_left => gets_bytes(Kind::Acks, |_, _| Vec::new());
        no_parameters_are_left => world().join(0, &[]).unwrap_err();
    }
}

/// What an acknowledgement of these survivors signs.
fn ack_view(view: &View, survivors: &[u32]) -> Vec<u8> {
    let mut set = Members::none(7);
    survivors.iter().for_each(|index| set.insert(*index));
    [
        view.shared.hash(),
        set.hash(),
        bodies_tree(view, survivors).root(),
    ]
    .concat()
}

fn bodies_tree(view: &View, members: &[u32]) -> Tree {
    let leaf = |index: &u32| {
        let body = common::view::hash(&[view.vectors[index].bytes()]);
        merkle::leaf(&[&index.to_le_bytes(), &body])
    };
    Tree::new(members.iter().map(leaf).collect())
}

/// Member 3 and the server collude, and show everybody a mask key of zeros: the others see it when they mask.
fn masks_with_a_key_of_small_order() -> Abort {
    let mut world = world();
    let mut stand = world.until(Kind::Roster, &Drops::new());
    let mut view = View::of(&stand);
    let mut message = stand.message(0);
    advert_of_3(&world, &view, &mut message, |advert| advert.mask = [0; 32]);
    view.adverts.insert(3, adverts(&mut message)[3]);
    view.id = view.session_id();
    view.shared = Members::none(7);
    (0..7).for_each(|index| view.shared.insert(index));
    let roster = message.encode(world.header());
    let mut ciphertexts = Vec::new();
    for index in (0..7).filter(|index| *index != 3) {
        let shares = match world.hand(&mut stand.clients, index, &roster).unwrap() {
            Step::Send(shares) => shares,
            other => panic!("{other:?}"),
        };
        if let ClientMessage::Shares {
            ciphertexts: sent, ..
        } = ClientMessage::decode(&shares, 7, 0).unwrap().0
            && index != 0
        {
            ciphertexts.push(sent[0]);
        }
    }
    let sealed = view.seal(3, 0, &world.secrets[&3].c, [[0; 40]; 2]);
    ciphertexts.insert(2, sealed);
    let message = ServerMessage::Deliver {
        shared: view.shared.clone(),
        ciphertexts,
    };
    let deliver = message.encode(world.header());
    let abort = world.hand(&mut stand.clients, 0, &deliver).unwrap_err();
    is_gone(&mut stand, &[&deliver]);
    abort
}

/// What a server may not propose it does not: it asks the same questions.
#[test]
fn a_server_does_not_open_what_no_client_may_join() {
    let world = world();
    let open = |change: fn(&mut Params)| {
        let mut params = world.params.clone();
        change(&mut params);
        let server = Server::new(params, Arc::clone(&world.roster), world.identity());
        server
            .map(|server| server.stage())
            .map_err(|abort| abort.name())
    };
    assert_eq!(open(|_| {}), Ok(Stage::Advertise));
    assert_eq!(open(|params| params.threshold = 4), Err("ERR_THRESHOLD"));
    assert_eq!(
        open(|params| params.model_lanes = (1 << 30) + 1),
        Err("ERR_CONFIG")
    );
    assert_eq!(open(|params| params.meta_lanes = 0), Err("ERR_CONFIG"));
    assert_eq!(open(|params| params.meta_lanes = 257), Err("ERR_CONFIG"));
}

#[test]
fn every_code_has_been_raised() {
    let raised: BTreeSet<&str> = RAISED.iter().copied().collect();
    let all: BTreeSet<&str> = ABORT_CODES.iter().map(|(_, name)| *name).collect();
    assert_eq!(raised, all);
}
