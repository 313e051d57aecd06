//! What director and sites tell each other beside rounds: JSON of strangers, and plans made of it.
#![no_main]

use cloister_net::experiment::{Answer, Charter, Closing, Offer};
use cloister_net::plan::{Plan, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<Answer>(bytes);
    let _ = serde_json::from_slice::<Closing>(bytes);
    if let Ok(charter) = serde_json::from_slice::<Charter>(bytes)
        && let Ok((experiment, _)) = read(
            "[data]\ndataset = \"digits\"\n[model]\nkind = \"logistic\"\n[secure_aggregation]\n",
        )
    {
        let contract = cloister_net::experiment::Contract {
            dataset: "digits".to_owned(),
            shape: [1, 8, 8],
            classes: vec!["0".to_owned(), "1".to_owned()],
        };
        if let Ok(plan) = Plan::new(experiment, contract) {
            let _ = plan.secure(&charter, b"no certificate", 0);
        }
    }
    if let Ok(offer) = serde_json::from_slice::<Offer>(bytes)
        && let Ok((experiment, _)) = read(&offer.config)
    {
        // A model may be large; that it may not be larger than the program allows is the point.
        let small = offer.data.shape.iter().all(|size| *size < 64);
        if small {
            let _ = Plan::new(experiment, offer.data);
        }
    }
});
