//! What every partition promises, for random data, clients and parameters.

mod support;

use std::collections::BTreeSet;

use cloister_data::{Dataset, Partition, PartitionConfig, PartitionError};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use support::labelled;

fn split(
    config: &PartitionConfig,
    dataset: &Dataset,
    clients: Option<usize>,
    seed: u64,
) -> Result<Partition, PartitionError> {
    config.split(dataset, clients, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn any_config() -> impl Strategy<Value = PartitionConfig> {
    let alpha = || prop_oneof![0.01..0.2, 0.2..5.0, 5.0..1000.0];
    let minimum = || 0_usize..4;
    prop_oneof![
        minimum().prop_map(|minimum| PartitionConfig::Iid { minimum }),
        (alpha(), any::<bool>(), minimum()).prop_map(|(alpha, balanced, minimum)| {
            PartitionConfig::Dirichlet {
                alpha,
                balanced,
                minimum,
            }
        }),
        (0_usize..6, minimum()).prop_map(|(classes_per_client, minimum)| {
            PartitionConfig::Pathological {
                classes_per_client,
                minimum,
            }
        }),
        (0_usize..6, minimum()).prop_map(|(per_client, minimum)| {
            PartitionConfig::Shards {
                per_client,
                minimum,
            }
        }),
        (alpha(), minimum())
            .prop_map(|(alpha, minimum)| PartitionConfig::QuantitySkew { alpha, minimum }),
        minimum().prop_map(|minimum| PartitionConfig::Natural { minimum }),
    ]
}

fn any_dataset() -> impl Strategy<Value = Dataset> {
    (1_usize..8).prop_flat_map(|classes| {
        proptest::collection::vec((0..classes as u32, 0_u32..5), 1..200).prop_map(move |rows| {
            let sites = rows.iter().map(|row| row.1).collect();
            labelled(rows.iter().map(|row| row.0).collect(), classes, Some(sites))
        })
    })
}

proptest! {
    /// Every row at exactly one client, rows in order, nobody under the minimum, the same for the same seed: or an error.
    #[test]
    fn every_row_once_and_nobody_short(
        config in any_config(),
        dataset in any_dataset(),
        clients in 0_usize..12,
        seed: u64,
    ) {
        let natural = matches!(config, PartitionConfig::Natural { .. });
        let clients = (!natural).then_some(clients);
        let result = split(&config, &dataset, clients, seed);
        prop_assert_eq!(&result, &split(&config, &dataset, clients, seed));
        let Ok(partition) = result else { return Ok(()) };
        if let Some(clients) = clients {
            prop_assert_eq!(partition.clients.len(), clients);
        }
        let mut all = Vec::new();
        for client in &partition.clients {
            prop_assert!(client.rows.len() >= config.minimum().max(1), "{}", client.name);
            prop_assert!(client.rows.windows(2).all(|pair| pair[0] < pair[1]));
            all.extend_from_slice(&client.rows);
        }
        all.sort_unstable();
        prop_assert_eq!(all, (0..dataset.len() as u32).collect::<Vec<_>>());
        let names: BTreeSet<_> = partition.clients.iter().map(|client| &client.name).collect();
        prop_assert_eq!(names.len(), partition.clients.len());
        let counts = partition.class_counts(&dataset);
        let total: u32 = counts.iter().flatten().sum();
        prop_assert_eq!(total as usize, dataset.len());
    }

    /// What needs no luck always works: an even deal, shards and balanced mixtures, when there are rows enough.
    #[test]
    fn enough_rows_are_always_dealt(
        dataset in any_dataset(),
        clients in 1_usize..12,
        pieces in 1_usize..4,
        alpha in 0.01..10.0,
        seed: u64,
    ) {
        let rows = dataset.len();
        let cases = [
            (PartitionConfig::Iid { minimum: 1 }, clients),
            (PartitionConfig::Dirichlet { alpha, balanced: true, minimum: 1 }, clients),
            (PartitionConfig::Shards { per_client: pieces, minimum: 1 }, clients * pieces),
        ];
        for (config, needed) in cases {
            let result = split(&config, &dataset, Some(clients), seed);
            prop_assert_eq!(result.is_ok(), needed <= rows, "{:?}: {:?}", config, result.err());
            // Equal sizes, give or take one; a client of shards adds up one a shard.
            if let Ok(partition) = result {
                let sizes = partition.clients.iter().map(|client| client.rows.len());
                let (least, most) = (sizes.clone().min(), sizes.max());
                prop_assert!(most.unwrap() - least.unwrap() <= pieces);
            }
        }
    }

    /// With rows enough in every class, each client has exactly k classes and a class's holders share it evenly.
    #[test]
    fn pathological_gives_exactly_k_classes(
        classes in 2_usize..8,
        clients in 1_usize..20,
        k in 1_usize..8,
        seed: u64,
    ) {
        let labels = (0..classes * 40).map(|row| (row % classes) as u32).collect();
        let dataset = labelled(labels, classes, None);
        let config = PartitionConfig::Pathological { classes_per_client: k, minimum: 1 };
        let result = split(&config, &dataset, Some(clients), seed);
        prop_assert_eq!(result.is_ok(), k <= classes && clients * k >= classes);
        let Ok(partition) = result else { return Ok(()) };
        let counts = partition.class_counts(&dataset);
        for client in &counts {
            prop_assert_eq!(client.iter().filter(|&&count| count > 0).count(), k);
        }
        let mut holders = Vec::new();
        for class in 0..classes {
            let held: Vec<u32> = counts.iter().map(|client| client[class]).filter(|&count| count > 0).collect();
            prop_assert!(held.iter().max().unwrap() - held.iter().min().unwrap() <= 1);
            holders.push(held.len());
        }
        prop_assert!(holders.iter().max().unwrap() - holders.iter().min().unwrap() <= 1);
    }
}

#[test]
fn shards_of_even_data_hold_few_classes() {
    // The set-up of McMahan et al. 2017: two shards a client hold two classes, three or four only at a class border.
    let dataset = labelled((0..6000).map(|row| row % 10).collect(), 10, None);
    let config = PartitionConfig::Shards {
        per_client: 2,
        minimum: 1,
    };
    let partition = split(&config, &dataset, Some(100), 1).unwrap();
    for client in partition.class_counts(&dataset) {
        assert_eq!(client.iter().sum::<u32>(), 60);
        assert!(client.iter().filter(|&&count| count > 0).count() <= 2);
    }
}

/// How far the clients' class shares are from the data's, summed over clients and classes, by size.
fn skew(partition: &Partition, dataset: &Dataset) -> f64 {
    let rows = dataset.len() as f64;
    let of_class = dataset.class_counts();
    let mut skew = 0.0;
    for client in partition.class_counts(dataset) {
        let size = f64::from(client.iter().sum::<u32>());
        for (&count, &all) in client.iter().zip(&of_class) {
            skew += (f64::from(count) / size - f64::from(all) / rows).abs() * size / rows;
        }
    }
    skew
}

#[test]
fn a_small_alpha_skews_more() {
    let dataset = labelled((0..5000).map(|row| row % 10).collect(), 10, None);
    for balanced in [false, true] {
        let skews = [0.1, 1.0, 100.0].map(|alpha| {
            let config = PartitionConfig::Dirichlet {
                alpha,
                balanced,
                minimum: 1,
            };
            skew(&split(&config, &dataset, Some(10), 5).unwrap(), &dataset)
        });
        assert!(
            skews[0] > 0.9 && skews[0] > skews[1] && skews[1] > skews[2],
            "{skews:?}"
        );
        assert!(skews[2] < 0.4, "{skews:?}");
    }
}

#[test]
fn ten_thousand_clients_are_dealt_one_row_each() {
    let dataset = labelled((0..10_000).map(|row| row % 10).collect(), 10, None);
    let partition = split(&PartitionConfig::default(), &dataset, Some(10_000), 1).unwrap();
    assert!(
        partition
            .clients
            .iter()
            .all(|client| client.rows.len() == 1)
    );
    assert_eq!(partition.clients[7].name, "client-0007");
}

#[test]
fn what_cannot_be_dealt_is_told_with_numbers() {
    let dataset = labelled(vec![0, 0, 0, 1, 1, 2], 4, Some(vec![0, 0, 0, 0, 2, 2]));
    let unowned = labelled(vec![0], 1, None);
    let iid = |minimum| PartitionConfig::Iid { minimum };
    let cases = [
        (
            iid(1),
            &dataset,
            Some(0),
            "a federation needs at least one client",
        ),
        (
            iid(2),
            &dataset,
            Some(4),
            "4 clients of at least 2 examples need 8 examples; there are 6",
        ),
        (
            iid(1),
            &dataset,
            None,
            "10 clients of at least 1 examples need 10 examples; there are 6",
        ),
        (
            PartitionConfig::Dirichlet {
                alpha: 0.0,
                balanced: false,
                minimum: 1,
            },
            &dataset,
            Some(2),
            "data.partition.alpha = 0: must be a finite number above 0",
        ),
        (
            PartitionConfig::QuantitySkew {
                alpha: f64::NAN,
                minimum: 1,
            },
            &dataset,
            Some(2),
            "data.partition.alpha = NaN: must be a finite number above 0",
        ),
        (
            PartitionConfig::QuantitySkew {
                alpha: 0.001,
                minimum: 2,
            },
            &dataset,
            Some(3),
            "none of 1000 quantity-skew draws with alpha = 0.001 gave each of 3 clients 2 examples; the best draw's \
             smallest client has 0: raise alpha, or lower the minimum or the number of clients",
        ),
        (
            PartitionConfig::Pathological {
                classes_per_client: 0,
                minimum: 1,
            },
            &dataset,
            Some(2),
            "data.partition.classes_per_client = 0: must be at least 1",
        ),
        (
            PartitionConfig::Pathological {
                classes_per_client: 4,
                minimum: 1,
            },
            &dataset,
            Some(2),
            "4 classes a client, but only 3 classes have examples",
        ),
        (
            PartitionConfig::Pathological {
                classes_per_client: 1,
                minimum: 1,
            },
            &dataset,
            Some(2),
            "2 clients of 1 classes hold 2 places, fewer than the 3 classes with examples",
        ),
        (
            PartitionConfig::Shards {
                per_client: 4,
                minimum: 1,
            },
            &dataset,
            Some(2),
            "2 clients of 4 shards are 8 shards; there are only 6 examples",
        ),
        (
            PartitionConfig::Natural { minimum: 1 },
            &dataset,
            None,
            "client 'n1' is left with no example",
        ),
        (
            PartitionConfig::Natural { minimum: 1 },
            &dataset,
            Some(2),
            "a natural partition has 3 owners, but 2 clients are asked for",
        ),
        (
            PartitionConfig::Natural { minimum: 1 },
            &unowned,
            None,
            "dataset 'toy' names no owner of its rows: a natural partition needs data.site_column or several paths",
        ),
    ];
    for (config, dataset, clients, expected) in cases {
        assert_eq!(
            split(&config, dataset, clients, 1).unwrap_err().to_string(),
            expected
        );
    }
    let uneven = labelled(vec![0; 5], 1, Some(vec![0, 0, 0, 0, 1]));
    let natural = PartitionConfig::Natural { minimum: 2 };
    assert_eq!(
        split(&natural, &uneven, None, 1).unwrap_err().to_string(),
        "client 'n1' gets 1 examples, fewer than the minimum of 2"
    );
}
