//! What can be chosen in the section `[retrieve]`, for documentation.

use crate::als::Solver;
use crate::config::RetrieveConfig;
use crate::index::Kind;
use crate::objective::config::{Estimator, Objective, Prior};
use kitestring_nn::slots::VariantInfo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const KRICHENE: &str = "Krichene et al. 2019";

/// The sections and their variants, as [`kitestring_nn::slots::catalogue`] lists those of rankers. A section without variants has no name of
/// one; a key that has no default and must be given has null.
pub fn catalogue() -> Vec<VariantInfo> {
    let config = RetrieveConfig::default();
    let mut all = vec![
        section("retrieve", &config, "What a pair is, how often training hides an item's id, what is measured"),
        section(
            "retrieve.model",
            &config.model,
            "Dimensions of rows and vectors; of length 1, their products are cosines",
        ),
        section(
            "retrieve.model.query",
            &config.model.query,
            "The tower of the user and the moment: an encoder (`pool`, `gru`, `gru_latent_cross`, or `cross` with `structure = \"stacked\"`), \
             layers, a linear map",
        ),
        section("retrieve.model.item", &config.model.item, "The tower of the item, made of the same parts"),
    ];
    let objective = variants::<Objective>("retrieve.objective");
    let estimator = variants::<Estimator>("retrieve.objective.estimator");
    let prior = variants::<Prior>("retrieve.objective.prior");
    let solver = variants::<Solver>("retrieve.objective.solver");
    let kind = variants::<Kind>("retrieve.index.kind");
    all.extend([
        objective(
            "gramian",
            &[],
            "A loss of each pair, and gravity between all pairs at the cost of two Gram matrices",
            KRICHENE,
        ),
        estimator(
            "sogram",
            &[],
            "Running Gram matrices, of which a step renews the share α, at first `alpha_start` where given",
            KRICHENE,
        ),
        estimator(
            "sagram",
            &[],
            "A cache of all vectors, of which a step renews its batch's; `variant = \"saga\"` is unbiased",
            KRICHENE,
        ),
        estimator("exact", &[], "All vectors computed anew, for few pairs and to hold the others against", KRICHENE),
        prior("none", &[], "Gravity pulls products to 0", KRICHENE),
        prior("constant", &["value"], "To the same number for all pairs", KRICHENE),
        prior(
            "popularity",
            &["value"],
            "To `value` for the most popular item, and to less the rarer an item is",
            KRICHENE,
        ),
        objective(
            "softmax",
            &[],
            "Each pair's item against the batch's, or drawn ones, corrected by how often each was to be expected",
            "Bengio and Senécal 2003; Yi et al. 2019",
        ),
        objective(
            "contrastive",
            &[],
            "Each pair's cosine up, and those of drawn items down where they are above a margin",
            "Mao et al. 2021",
        ),
        objective(
            "als",
            &[],
            "Implicit alternating least squares, for one id a side: the linear baseline",
            "Hu et al. 2008; Rendle et al. 2021",
        ),
        solver("cholesky", &[], "Each system exactly", "Hu et al. 2008"),
        solver("conjugate_gradient", &[], "A few steps from where the row stood", "Takács et al. 2011"),
        solver(
            "subspace",
            &[],
            "Exactly in a few numbers of the vector at a time, for long vectors",
            "Rendle et al. 2021",
        ),
        section(
            "retrieve.index",
            &config.index,
            "What an exact scan reads (`f32`, `int8`), and when a changed index is built anew",
        ),
        kind("exact", &[], "Every vector is read for every query", ""),
        kind(
            "graph",
            &[],
            "A graph of near vectors is walked: faster among many, and may miss some",
            "Malkov and Yashunin 2016",
        ),
        section("retrieve.train", &config.train, "The keys of `[train]`; early stopping by a key such as `recall@20`"),
    ]);
    all
}

/// Describes the variants of a section by their names and the keys that must be given.
fn variants<T: Serialize + DeserializeOwned>(
    slot: &'static str,
) -> impl Fn(&'static str, &[&str], &'static str, &'static str) -> VariantInfo {
    move |name, required, summary, source| {
        let mut given = json!({ "type": name });
        required.iter().for_each(|key| given[*key] = json!(0));
        let mut defaults = serde_json::from_value::<T>(given).map(|config| keys(&config)).unwrap_or_default();
        required.iter().for_each(|key| defaults[*key] = Value::Null);
        VariantInfo { slot, name, summary, source, defaults }
    }
}

fn section(slot: &'static str, config: &impl Serialize, summary: &'static str) -> VariantInfo {
    VariantInfo { slot, name: "", summary, source: "", defaults: keys(config) }
}

/// The keys of a section. Of those that are described as sections of their own, only the variant that is chosen.
fn keys(config: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(config).unwrap_or_default();
    let Some(keys) = value.as_object_mut() else { return value };
    for section in ["model", "objective", "train", "index", "query", "item"] {
        keys.remove(section);
    }
    for section in ["encoder", "estimator", "prior", "solver", "kind"] {
        let chosen = keys.remove(section).and_then(|section| section.get("type").cloned());
        if let Some(chosen) = chosen {
            keys.insert(format!("{section}.type"), chosen);
        }
    }
    absent(&mut value);
    value
}

/// Leaves out keys that are absent where nobody gives them.
fn absent(value: &mut Value) {
    if let Some(keys) = value.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
        keys.values_mut().for_each(absent);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The names of a section's variants, as a config that has none of them is told.
    fn named<T: DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_value::<T>(json!({ "type": "?" })).err().unwrap().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_variant_is_listed_with_its_keys() {
        let all = catalogue();
        let of = |slot: &str| {
            all.iter().filter(|info| info.slot == slot).map(|info| info.name.to_owned()).collect::<Vec<_>>()
        };
        for (slot, names) in [
            ("retrieve.objective", named::<Objective>()),
            ("retrieve.objective.estimator", named::<Estimator>()),
            ("retrieve.objective.prior", named::<Prior>()),
            ("retrieve.objective.solver", named::<Solver>()),
            ("retrieve.index.kind", named::<Kind>()),
        ] {
            assert!(names.len() > 1, "{slot}: {names:?}");
            assert_eq!(of(slot), names, "{slot}");
        }
        let keys =
            |name: &str| all.iter().find(|info| info.name == name || info.slot == name).unwrap().defaults.clone();
        assert_eq!(keys("gramian")["estimator.type"], "sogram");
        assert_eq!(keys("sogram")["half_life"], 1000.0);
        assert!(keys("popularity")["value"].is_null() && keys("popularity")["power"] == 1.0);
        assert_eq!(keys("retrieve")["unknown_items"], 0.0);
        assert!(keys("retrieve").get("model").is_none());
        assert!(all.iter().all(|info| info.defaults.is_object()), "{all:?}");
    }
}
