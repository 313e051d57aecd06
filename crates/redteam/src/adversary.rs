//! The malicious clients of a run, as one adversary.

mod craft;
mod training;

use std::collections::BTreeMap;

use cloister_data::Dataset;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{AttackConfig, AttackKind, Knowledge};
use crate::data::{LabelMap, Poisoned, Trigger, class};
use crate::error::AttackError;
use crate::memory::Memory;

/// All malicious clients of one run, coordinated by one adversary.
///
/// In each round the host asks [`active`](Self::active); if so, malicious members of the cohort
/// [`train`](Self::train), their updates go through [`craft`](Self::craft) together, and what comes out is what they
/// send. After every completed round, active or not, the host tells it by [`observe`](Self::observe) what the server
/// made of the global model. All randomness is a function of the attack's seed, the round and the client.
#[derive(Clone, Debug)]
pub struct Adversary {
    config: AttackConfig,
    seed: u64,
    sees: Knowledge,
    malicious: Vec<bool>,
    source: Option<u32>,
    target: Option<u32>,
    /// Names of the classes.
    classes: Vec<String>,
    trigger: Option<Trigger>,
    /// Training sets of the malicious clients that have examples, where they do not depend on the model.
    poisoned: BTreeMap<u32, Poisoned>,
    memory: Memory,
    /// `canary`: which canary each malicious client is, in their order.
    canaries: Vec<u32>,
    /// `neurotoxin`: the coordinates of the largest last step.
    frozen: Option<Vec<bool>>,
}

/// Marks the attackers' key among those of [`cloister_protocol::Streams`], whose purposes are small numbers.
const DOMAIN: u64 = u64::from_le_bytes(*b"redteam\0");

impl Adversary {
    /// The adversary of a run whose client i trains on the rows `clients[i]` of `train`.
    ///
    /// Who is malicious is the first M of a seeded permutation of the clients, so that with one seed a larger M only
    /// adds to a smaller; the last M, if they come beside the others. The attack's seed is `run_seed` unless the config has its own.
    ///
    /// # Errors
    /// [`AttackError`] if the config contradicts itself or the data, leaves no honest client, or grants less knowledge
    /// than the attack needs.
    pub fn new(
        config: &AttackConfig,
        run_seed: u64,
        clients: &[&[u32]],
        train: &Dataset,
    ) -> Result<Self, AttackError> {
        let parameter = |(key, reason)| AttackError::Parameter { key, reason };
        config.check().map_err(parameter)?;
        let sees = knowledge(config)?;
        let seed = config.seed.unwrap_or(run_seed);
        let chosen = choose(config, seed, clients.len())?;
        let (source, target) = goal(config, train)?;
        let mut malicious = vec![false; clients.len()];
        for client in &chosen {
            malicious[*client as usize] = true;
        }
        let trigger = if config.kind.is_backdoor() {
            let parts = match config.kind {
                AttackKind::DistributedBackdoor => chosen.len(),
                _ => 1,
            };
            Some(Trigger::new(train, config.trigger_size, parts)?)
        } else {
            None
        };
        let mut adversary = Self {
            config: config.clone(),
            seed,
            sees,
            malicious,
            source,
            target,
            classes: train.classes().to_vec(),
            trigger,
            poisoned: BTreeMap::new(),
            memory: Memory::default(),
            canaries: config.canaries(seed),
            frozen: None,
        };
        for (rank, client) in chosen.into_iter().enumerate() {
            let rows = clients[client as usize];
            if let Some(poisoned) = adversary.poison(client, rank, rows, train)? {
                adversary.poisoned.insert(client, poisoned);
            }
        }
        Ok(adversary)
    }

    /// The attack's config.
    pub fn config(&self) -> &AttackConfig {
        &self.config
    }

    /// Whether each client is malicious, by its number.
    pub fn malicious(&self) -> &[bool] {
        &self.malicious
    }

    /// Whether the malicious clients attack in `round` (counted from 1); before, they are honest in all respects.
    pub fn active(&self, round: u32) -> bool {
        round >= self.config.start_round
    }

    /// Which updates must be there before [`craft`](Self::craft) is called: those of the whole cohort if
    /// [`Knowledge::All`].
    pub fn sees(&self) -> Knowledge {
        self.sees
    }

    /// Takes in completed `round`: the global model before and after it, d values each.
    pub fn observe(&mut self, round: u32, before: &[f32], after: &[f32]) {
        let kind = self.config.kind;
        let remembers = matches!(kind, AttackKind::FreeRider | AttackKind::Neurotoxin);
        if !remembers || !self.active(round.saturating_add(1)) {
            return;
        }
        let step = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before);
        self.memory.last_step = Some(step.collect());
        self.freeze();
    }

    /// What is remembered, for a checkpoint.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on from what an adversary of the same config remembered. Vectors of another length than the model's are
    /// refused by the next [`craft`](Self::craft).
    pub fn restore(&mut self, memory: Memory) {
        self.memory = memory;
        self.freeze();
    }

    /// The examples of `test` with the whole trigger, without those of the target class (and, where the attack has a
    /// source class, of that class alone), their labels unchanged. The attack success rate is the share that a model
    /// calls [`target`](Self::target). `None` if the attack has no trigger, `test` is of another shape than the
    /// training examples, or no example is left.
    pub fn triggered(&self, test: &Dataset) -> Option<Dataset> {
        let trigger = self.trigger.as_ref()?;
        let rows: Vec<u32> = (0..test.len() as u32)
            .filter(|row| self.eligible(test.labels()[*row as usize]))
            .collect();
        if trigger.width() > test.shape().len() {
            return None;
        }
        let marked = Poisoned::new(0, test, &rows, |_, example, _| trigger.mark(example, None));
        Some(marked.ok()??.data)
    }

    /// The class whose examples are turned into others, if it is one: its recall shows the harm.
    pub fn source(&self) -> Option<usize> {
        self.source.map(|class| class as usize)
    }

    /// The class that the attackers want to see, if it is one.
    pub fn target(&self) -> Option<usize> {
        self.target.map(|class| class as usize)
    }

    /// A sentence for a report: who attacks, how, from when, and what they see.
    pub fn describe(&self) -> String {
        let count = self
            .malicious
            .iter()
            .filter(|malicious| **malicious)
            .count();
        let from = match self.config.start_round {
            0 | 1 => String::new(),
            round => format!(" from round {round}"),
        };
        let seen = match self.sees {
            Knowledge::Nothing => "no updates but their own",
            Knowledge::Own => "what their own clients would honestly have sent",
            Knowledge::All => "the updates of the whole cohort",
        };
        format!(
            "{count} of {} clients are malicious and{from} {}; they see {seen}.",
            self.malicious.len(),
            self.deed()
        )
    }

    /// What the attackers do, in words.
    fn deed(&self) -> String {
        let config = &self.config;
        match config.kind {
            AttackKind::Gaussian => {
                format!("send Gaussian noise of deviation {}", config.deviation())
            }
            AttackKind::SignFlip => format!("send minus {} times an honest update", config.scale()),
            AttackKind::Ipm => format!("send minus {} times the mean (IPM)", config.epsilon()),
            AttackKind::Alie => {
                let z = config.z.map_or_else(|| "z".to_owned(), |z| z.to_string());
                format!("send the mean minus {z} standard deviations (ALIE)")
            }
            AttackKind::FangKrum => {
                "send what Krum picks against the mean's signs (Fang)".to_owned()
            }
            AttackKind::FangTrimmedMean => {
                "send values beyond the honest ones, against the mean's signs (Fang)".to_owned()
            }
            AttackKind::MinMax => {
                "step from the mean within the largest distance (Min-Max)".to_owned()
            }
            AttackKind::MinSum => {
                "step from the mean within the largest sum of distances (Min-Sum)".to_owned()
            }
            AttackKind::Tailored => {
                "step from the mean as far as the deployed rule lets them".to_owned()
            }
            AttackKind::Mimic => "all send the update of one honest client (mimic)".to_owned(),
            AttackKind::FreeRider => "send the last global step without training".to_owned(),
            AttackKind::Sybil => format!(
                "all send minus {} times one update (Sybils)",
                config.scale()
            ),
            AttackKind::Constant => format!("send {} in every coordinate", config.value()),
            AttackKind::Nan => "send NaN".to_owned(),
            AttackKind::Canary => format!(
                "are canaries, which send a random direction of length {} each",
                config.scale()
            ),
            AttackKind::LabelFlip => format!("train on flipped labels, {}", self.flips()),
            AttackKind::DynamicLabelFlip => {
                "train on the labels that the model finds least likely".to_owned()
            }
            kind => {
                let target = self.named(self.target.unwrap_or(0));
                format!("plant a trigger for {target} ({})", kind.name())
            }
        }
    }

    fn flips(&self) -> String {
        let all = || "all classes".to_owned();
        let from = self.source.map_or_else(all, |class| self.named(class));
        let mirror = || "class C - 1 - c for c".to_owned();
        let to = self.target.map_or_else(mirror, |class| self.named(class));
        format!("{from} to {to}")
    }

    fn named(&self, class: u32) -> String {
        let name = self.classes.get(class as usize).map_or("", String::as_str);
        format!("class '{name}'")
    }

    /// Whether examples of class `label` are to be taken for the target.
    fn eligible(&self, label: u32) -> bool {
        self.target != Some(label) && self.source.is_none_or(|source| source == label)
    }

    /// The poisoned training set of the client that is the `rank`-th of the malicious.
    fn poison(
        &self,
        client: u32,
        rank: usize,
        rows: &[u32],
        train: &Dataset,
    ) -> Result<Option<Poisoned>, AttackError> {
        if let Some(trigger) = &self.trigger {
            let part = match self.config.kind {
                AttackKind::DistributedBackdoor => Some(rank % trigger.parts()),
                _ => None,
            };
            let marked = self.marked_places(client, rows, train);
            let target = self.target.unwrap_or(0);
            return Poisoned::new(client, train, rows, |place, example, label| {
                if marked[place] {
                    trigger.mark(example, part);
                    *label = target;
                }
            });
        }
        if self.config.kind != AttackKind::LabelFlip {
            return Ok(None);
        }
        let map = LabelMap {
            classes: train.classes().len() as u32,
            source: self.source,
            target: self.target,
        };
        Poisoned::new(client, train, rows, |_, _, label| {
            *label = map.apply(*label)
        })
    }

    /// Which of a client's rows carry the trigger: a seeded choice among those that may.
    fn marked_places(&self, client: u32, rows: &[u32], train: &Dataset) -> Vec<bool> {
        let label = |row: u32| train.labels().get(row as usize).copied();
        let mut places: Vec<usize> = (0..rows.len())
            .filter(|place| label(rows[*place]).is_some_and(|label| self.eligible(label)))
            .collect();
        places.shuffle(&mut self.stream(0, Some(client)));
        let wanted = (self.config.poison_fraction() * rows.len() as f64).round() as usize;
        let mut marked = vec![false; rows.len()];
        for place in places.into_iter().take(wanted) {
            marked[place] = true;
        }
        marked
    }

    /// The random stream of one attacker in a round, or of all together; round 0 is before the run.
    fn stream(&self, round: u32, client: Option<u32>) -> ChaCha8Rng {
        stream(self.seed, round, client)
    }
}

fn stream(seed: u64, round: u32, client: Option<u32>) -> ChaCha8Rng {
    let client = client.map_or(0, |client| u64::from(client) + 1);
    let mut key = [0; 32];
    let coordinates = [seed, DOMAIN, round.into(), client];
    for (bytes, coordinate) in key.chunks_exact_mut(8).zip(coordinates) {
        bytes.copy_from_slice(&coordinate.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// What the attackers use of what they are given.
fn knowledge(config: &AttackConfig) -> Result<Knowledge, AttackError> {
    let [least, published, _] = config.kind.knowledge();
    let given = config.knowledge.unwrap_or(published);
    if given < least {
        return Err(AttackError::Knowledge {
            kind: config.kind.name(),
            needs: least.name(),
            got: given.name(),
        });
    }
    Ok(config.sees())
}

/// The malicious clients, in the order of the permutation.
fn choose(config: &AttackConfig, seed: u64, clients: usize) -> Result<Vec<u32>, AttackError> {
    match (config.clients, config.fraction) {
        (Some(_), Some(_)) => return Err(AttackError::Count { given: "got both" }),
        (None, None) => {
            return Err(AttackError::Count {
                given: "got neither",
            });
        }
        (None, Some(fraction)) if !(0.0..1.0).contains(&fraction) => {
            return Err(AttackError::Parameter {
                key: "fraction",
                reason: format!("must be at least 0 and below 1, found {fraction}"),
            });
        }
        _ => {}
    }
    let malicious = match config.kind {
        AttackKind::Canary => config.joining(seed),
        _ => config.malicious(clients as u32),
    };
    if config.kind == AttackKind::Canary && (malicious as usize) < clients {
        let mut order: Vec<u32> = (0..clients as u32).collect();
        return Ok(order.split_off(clients - malicious as usize));
    }
    if malicious as usize >= clients || config.clients.is_some_and(|count| count > malicious) {
        return Err(AttackError::NobodyHonest {
            malicious: config.clients.unwrap_or(malicious),
            clients,
        });
    }
    let mut order: Vec<u32> = (0..clients as u32).collect();
    if config.beside {
        // They are the last to have joined.
        return Ok(order.split_off(clients - malicious as usize));
    }
    order.shuffle(&mut stream(seed, 0, None));
    order.truncate(malicious as usize);
    Ok(order)
}

/// Source and target class, as far as the attack has them.
fn goal(config: &AttackConfig, train: &Dataset) -> Result<(Option<u32>, Option<u32>), AttackError> {
    let flips = matches!(
        config.kind,
        AttackKind::LabelFlip | AttackKind::DynamicLabelFlip
    );
    if !flips && !config.kind.is_backdoor() {
        return Ok((None, None));
    }
    let classes = train.classes().len();
    if classes < 2 {
        let kind = config.kind.name();
        return Err(AttackError::Classes { kind, classes });
    }
    if config.kind == AttackKind::DynamicLabelFlip {
        return Ok((None, None));
    }
    let source = class("source", config.source.as_deref(), train)?;
    let mut target = class("target", config.target.as_deref(), train)?;
    if config.kind.is_backdoor() {
        target = target.or(Some(0));
    }
    match (source, target) {
        (Some(source), Some(target)) if source == target => {
            Err(AttackError::SameClass { class: source })
        }
        _ => Ok((
            source.map(|class| class as u32),
            target.map(|class| class as u32),
        )),
    }
}

#[cfg(test)]
mod tests;
