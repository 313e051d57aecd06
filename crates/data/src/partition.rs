//! Dealing the training rows to clients.
//!
//! Every kind deals **every row to exactly one client**, whatever the parameters, and gives the same answer for the
//! same random stream. A partition in which some client gets fewer examples than `minimum` (at least 1) is an error,
//! never a silently smaller federation.
//!
//! | kind | labels | sizes | source |
//! | --- | --- | --- | --- |
//! | `iid` | alike | equal | - |
//! | `dirichlet` | skewed by `alpha` | vary | Yurochkin et al. 2019; Li et al. 2022 (NIID-Bench) |
//! | `dirichlet`, `balanced` | skewed by `alpha` | equal | Hsu, Qi and Brown 2019 |
//! | `pathological` | k classes a client | nearly equal on even data | Liang et al. 2020; Collins et al. 2021 |
//! | `shards` | about `per_client` classes | equal | McMahan et al. 2017, section 3 |
//! | `quantity-skew` | alike | skewed by `alpha` | Li et al. 2022 |
//! | `natural` | as they are | as they are | the data's own owners |

mod dirichlet;
mod labels;

use rand::Rng;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Sites};
use crate::error::PartitionError;

/// Draws of a random partition before it is given up because some client stays under the minimum.
pub const MAX_DRAWS: usize = 1_000;

/// Clients when neither the config nor the data says how many.
pub const DEFAULT_CLIENTS: usize = 10;

/// `[data.partition]`: how the training rows are dealt to clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PartitionConfig {
    /// A shuffle dealt evenly: sizes differ by at most one.
    Iid {
        /// Least examples a client.
        #[serde(default = "one")]
        minimum: usize,
    },
    /// Label skew: each class is spread over the clients in shares drawn from a symmetric Dirichlet distribution
    /// (Yurochkin et al. 2019; Li et al. 2022). Small `alpha`: few clients hold most of a class. Drawn again, up to
    /// 1,000 times, until each client has `minimum` examples.
    Dirichlet {
        /// Concentration, above 0; 100 is nearly even, 0.1 is extreme.
        alpha: f64,
        /// Every client gets the same number of examples, and its own class mixture is drawn around the data's, as in
        /// Hsu, Qi and Brown 2019. Once a class runs out, the rest of a mixture is scaled up.
        #[serde(default)]
        balanced: bool,
        /// Least examples a client.
        #[serde(default = "one")]
        minimum: usize,
    },
    /// Each client holds exactly `classes_per_client` classes (fewer only where a class has fewer rows than clients
    /// that hold it); a class is split evenly among its clients, and the classes have equally many clients, give or
    /// take one.
    Pathological {
        /// Classes a client.
        classes_per_client: usize,
        /// Least examples a client.
        #[serde(default = "one")]
        minimum: usize,
    },
    /// Rows sorted by label, cut into clients x `per_client` shards of equal size (give or take one), of which each
    /// client gets `per_client` at random (McMahan et al. 2017).
    Shards {
        /// Shards a client.
        per_client: usize,
        /// Least examples a client.
        #[serde(default = "one")]
        minimum: usize,
    },
    /// Size skew: labels alike, client sizes drawn from a symmetric Dirichlet distribution (Li et al. 2022). Drawn
    /// again, up to 1,000 times, until each client has `minimum` examples.
    QuantitySkew {
        /// Concentration, above 0; 100 is nearly even, 0.1 is extreme.
        alpha: f64,
        /// Least examples a client.
        #[serde(default = "one")]
        minimum: usize,
    },
    /// The owners that the data names: one client for each hospital, bank or file.
    Natural {
        /// Least examples a client.
        #[serde(default = "one")]
        minimum: usize,
    },
}

fn one() -> usize {
    1
}

impl PartitionConfig {
    /// Whether rows are dealt by their classes.
    pub(crate) fn needs_classes(&self) -> bool {
        match self {
            Self::Dirichlet { .. } | Self::Pathological { .. } | Self::Shards { .. } => true,
            Self::Iid { .. } | Self::QuantitySkew { .. } | Self::Natural { .. } => false,
        }
    }
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self::Iid { minimum: 1 }
    }
}

/// What dealing looks at: the class and the owner of each row, and none of its features, so that rows can be dealt before
/// they are prepared.
#[derive(Clone, Copy, Debug)]
pub struct Roll<'a> {
    /// Name of the data set, for errors.
    pub name: &'a str,
    /// The class of each row.
    pub labels: &'a [u32],
    /// Number of classes.
    pub classes: usize,
    /// The natural owner of each row, where the data names one.
    pub sites: Option<&'a Sites>,
}

impl<'a> From<&'a Dataset> for Roll<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        Self {
            name: dataset.name(),
            labels: dataset.labels(),
            classes: dataset.classes().len(),
            sites: dataset.sites(),
        }
    }
}

/// The rows of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientShare {
    /// Name: `client-07`, or the owner's name in a natural partition.
    pub name: String,
    /// Rows of the dataset in rising order, none twice.
    pub rows: Vec<u32>,
}

/// Which client holds which rows. Rows of different clients never overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The clients in order; their index is their number in a run.
    pub clients: Vec<ClientShare>,
}

impl Partition {
    /// Examples of each client (outer) and class (inner): what the picture of a partition shows.
    ///
    /// # Panics
    /// If the partition was made of longer data.
    pub fn class_counts<'a>(&self, data: impl Into<Roll<'a>>) -> Vec<Vec<u32>> {
        let roll = data.into();
        self.clients
            .iter()
            .map(|client| {
                let mut counts = vec![0; roll.classes];
                for &row in &client.rows {
                    counts[roll.labels[row as usize] as usize] += 1;
                }
                counts
            })
            .collect()
    }
}

impl PartitionConfig {
    /// The name of the kind, as configs write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Iid { .. } => "iid",
            Self::Dirichlet { .. } => "dirichlet",
            Self::Pathological { .. } => "pathological",
            Self::Shards { .. } => "shards",
            Self::QuantitySkew { .. } => "quantity-skew",
            Self::Natural { .. } => "natural",
        }
    }

    /// Least examples a client.
    pub fn minimum(&self) -> usize {
        match *self {
            Self::Iid { minimum }
            | Self::Dirichlet { minimum, .. }
            | Self::Pathological { minimum, .. }
            | Self::Shards { minimum, .. }
            | Self::QuantitySkew { minimum, .. }
            | Self::Natural { minimum } => minimum,
        }
    }

    /// Deals the rows of `data` (a [`Dataset`], or the [`Roll`] of rows that are not prepared yet) to `clients` clients.
    /// `None` is [`DEFAULT_CLIENTS`], or as many as there are owners in a natural partition.
    ///
    /// # Errors
    /// [`PartitionError`], when a parameter is out of range, or a client would get fewer than `minimum` examples.
    ///
    /// ```
    /// use cloister_data::{DataConfig, PartitionConfig};
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    ///
    /// let data = cloister_data::load(&DataConfig::bundled("heart-disease"), 1)?;
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let natural = PartitionConfig::Natural { minimum: 1 };
    /// let partition = natural.split(&data.train, None, &mut rng)?;
    /// assert_eq!(partition.clients.len(), 4);
    /// assert_eq!(partition.clients[0].name, "cleveland");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split<'a>(
        &self,
        data: impl Into<Roll<'a>>,
        clients: Option<usize>,
        rng: &mut impl Rng,
    ) -> Result<Partition, PartitionError> {
        let roll = data.into();
        let partition = match self {
            Self::Natural { .. } => natural(&roll, clients)?,
            _ => {
                let clients = clients.unwrap_or(DEFAULT_CLIENTS);
                self.check_size(roll.labels.len(), clients)?;
                named(self.shares(&roll, clients, rng)?)
            }
        };
        self.check_minimum(&partition)?;
        Ok(partition)
    }

    fn shares(
        &self,
        roll: &Roll<'_>,
        clients: usize,
        rng: &mut impl Rng,
    ) -> Result<Vec<Vec<u32>>, PartitionError> {
        match *self {
            Self::Iid { .. } | Self::Natural { .. } => {
                Ok(even_parts(&shuffled(roll.labels.len(), rng), clients))
            }
            Self::Dirichlet {
                alpha,
                balanced,
                minimum,
            } => {
                check_alpha(alpha)?;
                if balanced {
                    Ok(dirichlet::balanced(roll, clients, alpha, rng))
                } else {
                    dirichlet::by_class(roll, clients, alpha, minimum, rng)
                }
            }
            Self::QuantitySkew { alpha, minimum } => {
                check_alpha(alpha)?;
                dirichlet::by_size(roll.labels.len(), clients, alpha, minimum, rng)
            }
            Self::Pathological {
                classes_per_client, ..
            } => labels::pathological(roll, clients, classes_per_client, rng),
            Self::Shards { per_client, .. } => labels::shards(roll, clients, per_client, rng),
        }
    }

    fn check_size(&self, rows: usize, clients: usize) -> Result<(), PartitionError> {
        if clients == 0 {
            return Err(PartitionError::NoClients);
        }
        let minimum = self.minimum().max(1);
        let needed = clients.saturating_mul(minimum);
        if needed > rows {
            return Err(PartitionError::TooFewExamples {
                clients,
                minimum,
                needed,
                rows,
            });
        }
        Ok(())
    }

    fn check_minimum(&self, partition: &Partition) -> Result<(), PartitionError> {
        let minimum = self.minimum();
        for client in &partition.clients {
            if client.rows.is_empty() {
                return Err(PartitionError::EmptyClient {
                    client: client.name.clone(),
                });
            }
            if client.rows.len() < minimum {
                return Err(PartitionError::BelowMinimum {
                    client: client.name.clone(),
                    found: client.rows.len(),
                    minimum,
                });
            }
        }
        Ok(())
    }
}

fn check_alpha(alpha: f64) -> Result<(), PartitionError> {
    if alpha > 0.0 && alpha.is_finite() {
        return Ok(());
    }
    Err(PartitionError::Setting {
        key: "alpha",
        value: alpha.to_string(),
        reason: "must be a finite number above 0",
    })
}

fn natural(roll: &Roll<'_>, clients: Option<usize>) -> Result<Partition, PartitionError> {
    let sites = roll.sites.ok_or_else(|| PartitionError::NoSites {
        dataset: roll.name.to_owned(),
    })?;
    if let Some(clients) = clients
        && clients != sites.names.len()
    {
        return Err(PartitionError::SiteCount {
            sites: sites.names.len(),
            clients,
        });
    }
    let mut shares: Vec<ClientShare> = sites
        .names
        .iter()
        .map(|name| ClientShare {
            name: name.clone(),
            rows: Vec::new(),
        })
        .collect();
    for (row, &site) in (0..).zip(&sites.of_row) {
        shares[site as usize].rows.push(row);
    }
    Ok(Partition { clients: shares })
}

/// Names the shares `client-00`... and sorts their rows.
fn named(shares: Vec<Vec<u32>>) -> Partition {
    let digits = shares.len().saturating_sub(1).to_string().len();
    let clients = shares
        .into_iter()
        .enumerate()
        .map(|(index, mut rows)| {
            rows.sort_unstable();
            ClientShare {
                name: format!("client-{index:0digits$}"),
                rows,
            }
        })
        .collect();
    Partition { clients }
}

/// The rows `0..rows` in random order.
fn shuffled(rows: usize, rng: &mut impl Rng) -> Vec<u32> {
    // A dataset has fewer than 2^32 rows by construction.
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(rng);
    order
}

/// Where part `part` of `parts` nearly equal parts of `len` items begins.
fn even_cut(len: usize, parts: usize, part: usize) -> usize {
    // In 128 bits: len * part may pass 64.
    (len as u128 * part as u128 / parts as u128) as usize
}

/// Cuts `items` into `parts` runs whose lengths differ by at most one.
fn even_parts(items: &[u32], parts: usize) -> Vec<Vec<u32>> {
    (0..parts)
        .map(|part| {
            let (from, to) = (
                even_cut(items.len(), parts, part),
                even_cut(items.len(), parts, part + 1),
            );
            items[from..to].to_vec()
        })
        .collect()
}

/// Rows of each class in random order.
fn shuffled_classes(roll: &Roll<'_>, rng: &mut impl Rng) -> Vec<Vec<u32>> {
    let mut classes = vec![Vec::new(); roll.classes];
    for (row, &label) in (0..).zip(roll.labels) {
        classes[label as usize].push(row);
    }
    for rows in &mut classes {
        rows.shuffle(rng);
    }
    classes
}
