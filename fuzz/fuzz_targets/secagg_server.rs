//! A server of secure aggregation with clients whose messages are lost, late, doubled or changed on the way: it does not panic,
//! gives sums once or fails once, and where members sign, each sum is that of its members' vectors.
#![no_main]

mod secagg;

use cloister_secagg::lanes::Vector;
use cloister_secagg::{Client, Mode, Output, Server, Stage, Sum};
use libfuzzer_sys::fuzz_target;
use secagg::{Input, World};

const MOST_STEPS: usize = 128;

struct Play<'a> {
    world: &'a World,
    server: Server,
    clients: Vec<Option<Client>>,
    /// Messages of clients on their way.
    pending: Vec<(u32, Vec<u8>)>,
    /// Something reached the server that no client has sent.
    tampered: bool,
    ends: u32,
}

impl Play<'_> {
    /// Takes all that the server has to say to the clients.
    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let client = &mut self.clients[to as usize];
                    let reply = self.world.answer(client, to, &message);
                    self.pending.extend(reply.map(|reply| (to, reply)));
                }
                Output::Sums(sums) => {
                    self.ends += 1;
                    self.check(&sums);
                    self.server.announce([4; 32]);
                }
                Output::Failed(_) => self.ends += 1,
                _ => {}
            }
        }
        assert!(self.ends <= 1, "two ends");
        assert_eq!(self.ends == 1, self.server.stage() == Stage::Over);
    }

    fn check(&self, sums: &[Sum]) {
        let params = &self.world.params;
        assert!(!sums.is_empty());
        for pair in sums.windows(2) {
            assert!(pair[0].bucket < pair[1].bucket);
        }
        for sum in sums {
            assert!(sum.members.len() >= params.needed() as usize);
            assert_eq!(sum.vector.meta(0), sum.members.len() as u64);
            if self.tampered && params.mode == Mode::SemiHonest {
                continue;
            }
            let mut plain = Vector::zero(params.layout());
            for index in &sum.members {
                plain.add(self.world.vector(*index).bytes()).unwrap();
            }
            assert_eq!(sum.vector, plain);
        }
    }

    fn give(&mut self, from: u32, bytes: &[u8]) {
        // Whatever is refused has changed nothing that a later message depends on.
        let _ = self.server.receive(from, bytes);
        self.drain();
    }

    /// One of the messages on their way, taken out or copied.
    fn pick(&mut self, which: u8, keep: bool) -> Option<(u32, Vec<u8>)> {
        let place = usize::from(which) % self.pending.len().max(1);
        let message = self.pending.get(place).cloned();
        if message.is_some() && !keep {
            self.pending.remove(place);
        }
        message
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (op, which) = (input.u8() % 16, input.u8());
        let index = u32::from(which) % (self.world.params.members() + 1);
        match op {
            0..=4 => {
                if let Some((from, message)) = self.pick(which, op == 0) {
                    self.give(from, &message);
                }
            }
            5 => {
                for (from, message) in std::mem::take(&mut self.pending) {
                    self.give(from, &message);
                }
            }
            6 => {
                if let Some((from, mut message)) = self.pick(which, which & 0x80 != 0) {
                    input.edit(&mut message);
                    self.tampered = true;
                    self.give(from, &message);
                }
            }
            7 => {
                if let Some((_, message)) = self.pick(which, true) {
                    let other = input.u8().into();
                    self.tampered = true;
                    self.give(other, &message);
                }
            }
            8 => {
                let length = input.u8().into();
                self.tampered = true;
                self.give(index, input.take(length));
            }
            9 | 10 => {
                if let Some((from, _)) = self.pick(which, false) {
                    self.server.lost(from);
                    self.drain();
                }
            }
            11 => {
                self.server.lost(index);
                self.drain();
            }
            12 => {
                self.server.close_stage();
                self.drain();
            }
            13 => {
                self.server.announce([5; 32]);
                self.drain();
            }
            _ => {
                let client = self.clients.get_mut(index as usize);
                if let Some(client) = client.and_then(Option::take) {
                    // It leaves, and says so.
                    let reason = cloister_secagg::Abort::ModelHash;
                    self.give(index, &client.farewell(&reason));
                }
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let worlds = secagg::worlds();
    let world = &worlds[usize::from(input.u8()) % worlds.len()];
    let mut play = Play {
        server: world.open(),
        clients: (0..world.params.members()).map(|_| None).collect(),
        pending: Vec::new(),
        tampered: false,
        ends: 0,
        world,
    };
    play.server.use_threads(1);
    play.drain();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        play.step(&mut input);
    }
    // Time runs out: each stage ends, and so does the session.
    for _ in 0..5 {
        play.server.close_stage();
        play.drain();
    }
    assert_eq!(play.ends, 1);
});
