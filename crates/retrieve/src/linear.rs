//! Alternating least squares as a way to fill towers of one id each.
//!
//! Such towers are matrix factorization, whose factors are the rows of two tables. So what comes out is a retriever like any other: the
//! same files, the same index.

use crate::als::{self, Interactions};
use crate::corpus::Corpus;
use crate::model::RetrieverModel;
use kitestring_core::schema::Of;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::engine::Workers;
use kitestring_table::Route;

/// A side's one feature: its number among the sparse ones, and its table's.
#[derive(Debug, Clone, Copy)]
struct Side {
    feature: usize,
    table: usize,
}

/// Fills the tables of a retriever with factors. `each` is told the number of each iteration and its seconds.
///
/// # Errors
/// Towers that are more than an id each; as [`als::fit`].
pub(crate) fn fit(
    model: &mut RetrieverModel,
    corpus: &Corpus<'_>,
    config: &als::Config,
    seed: Seed,
    workers: &dyn Workers,
    each: &mut dyn FnMut(u32, f64),
) -> Result<()> {
    let query = side(model, "query", &[Of::User, Of::Context])?;
    let item = side(model, "item", &[Of::Item])?;
    if query.table == item.table {
        return Err(not_linear("query", "both towers read the same table, and factors of users and items differ"));
    }
    let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(corpus.len() as usize);
    corpus.each_block(|batch| {
        pairs.extend(batch.ids(query.feature, item.feature).map(|(user, item)| (user as u32, item as u32)));
        Ok(())
    })?;
    let rows = |side: Side| model.tables[side.table].len() as usize;
    let interactions = Interactions::new(rows(query), rows(item), pairs)?;
    let factors = als::fit(&interactions, config, model.vector_dimension(), seed, workers, &mut |iteration| {
        each(iteration.number, iteration.seconds);
    })?;
    for (side, factors) in [(query, factors.users), (item, factors.items)] {
        let table = &model.tables[side.table];
        let ids: Vec<u64> = (0..table.len()).collect();
        let mut route = Route::new();
        table.route(&ids, &mut route)?;
        table.assign(&mut route, &factors)?;
    }
    Ok(())
}

/// The one feature of a tower that is its row and nothing else.
fn side(model: &RetrieverModel, name: &str, read: &[Of]) -> Result<Side> {
    let (config, schema) = (&model.config, &model.schema);
    let tower = if name == "query" { &config.query } else { &config.item };
    let mut features = schema.sparse().enumerate().filter(|(_, feature)| read.contains(&feature.of));
    let (Some((number, feature)), None) = (features.next(), features.next()) else {
        return Err(not_linear(name, "the tower reads more than one id"));
    };
    if feature.is_ragged() || schema.numeric().any(|feature| read.contains(&feature.of)) {
        return Err(not_linear(name, "the tower reads more than one id"));
    }
    if tower.projection || !tower.layers.units.is_empty() || config.unit_length {
        return Err(not_linear(name, "the tower is more than its id's row"));
    }
    let table = schema.table_names().iter().position(|table| *table == feature.table());
    let table = table.ok_or_else(|| Error::internal("a feature without a table"))?;
    if model.tables[table].dim() != config.vector {
        return Err(not_linear(name, "the row is not as wide as the vector"));
    }
    Ok(Side { feature: number, table })
}

fn not_linear(tower: &str, what: &str) -> Error {
    Error::config(format!("alternating least squares fits one row a user and one an item: {what}"))
        .in_field(format!("retrieve.model.{tower}"))
        .mend(
            "leave one id on each side, with layers = { units = [] }, projection = false, unit_length = false and \
             dimension = vector; or choose another objective",
        )
}
