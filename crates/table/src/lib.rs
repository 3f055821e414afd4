//! Embedding rows: kept by id, gathered for the distinct ids of a batch, updated by sparse optimizers.
//!
//! A batch's ids are made distinct by [`Unique`]; their rows are gathered from a [`Table`], enter the network as a leaf, and
//! their gradients go back to the table. No step costs anything for the rows that it does not touch, unless the optimizer
//! is asked to treat gradients as dense.
//!
//! ```
//! use kitestring_core::Seed;
//! use kitestring_table::{Config, Init, Optimizer, Route, Space, Step, Table, Unique};
//!
//! # fn main() -> kitestring_core::Result<()> {
//! let config = Config { dim: 2, space: Space::Direct { rows: 100 }, init: Init::Zero, optimizer: Optimizer::sgd() };
//! let table = Table::new("item", config, Seed(1))?;
//!
//! let mut unique = Unique::new();
//! unique.dedupe([&[7, 3, 7][..]]);
//! let mut route = Route::new();
//! table.route(unique.ids(), &mut route)?;
//! let mut rows = vec![0.0; unique.ids().len() * table.dim()];
//! table.gather(&mut route, &mut rows)?;
//! let gradients = [1.0, 2.0, 3.0, 4.0];
//! table.apply(&mut route, &gradients, Step { number: 1, learning_rate: 0.1 })?;
//! table.gather(&mut route, &mut rows)?;
//! assert_eq!(rows, [-0.1, -0.2, -0.3, -0.4]);
//! # Ok(())
//! # }
//! ```

mod config;
mod file;
mod index;
mod init;
mod restart;
mod route;
mod rows;
mod rule;
mod shrink;
mod stripe;
mod table;
mod unique;

pub use config::{Config, Open, Optimizer, Rule, Space, Touched, Unadmitted};
pub use init::Init;
pub use route::Route;
pub use rule::Step;
pub use table::{Evicted, Table};
pub use unique::Unique;
