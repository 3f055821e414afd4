//! Implicit alternating least squares: a vector a user and a vector an item whose product is near one for pairs that were observed and
//! near zero for all others, without sampling any of the others.
//!
//! With `r` the weight of an observed pair, `s = ⟨p_u, q_i⟩`, `n` how many pairs a user or an item has, and `D` all pairs or those that
//! were not observed ([`Zeros`]), [`fit`] lessens
//!
//! ```text
//! Σ_observed r_ui (1 − s_ui)² + α₀ Σ_D s_ui² + Σ_u λ_u |p_u|² + Σ_i λ_i |q_i|²,
//! λ_u = λ (n_u + α₀ · items)^ν,  λ_i = λ (n_i + α₀ · users)^ν.
//! ```
//!
//! Given the items' vectors each user's is a linear system of its own, and the other way round, so that the sides are solved in turn.
//! What the pairs that were not observed add to a system is the same for all users: the items' Gram matrix `Σ_i q_i q_iᵀ` times `α₀`.
//!
//! Two published parametrizations are points of this one:
//!
//! - iALS (Rendle, Krichene, Zhang and Koren 2021, "Revisiting the performance of iALS on item recommendation benchmarks"): `zeros =
//!   "all_pairs"`, their `α₀`, `λ` and `ν` as they are; `ν = 1` is theirs of choice.
//! - Hu, Koren and Volinsky 2008, as the Python library `implicit` 0.7 has it (an observed pair weighs `alpha · r`, another 1, plain
//!   `regularization`): the objective divided by `alpha`, which has the same minimum. `zeros = "unobserved"`, `unobserved_weight = 1 /
//!   alpha`, `regularization = regularization / alpha`, `regularization_exponent = 0`.

mod config;
mod fit;
mod fold_in;
mod interactions;
mod objective;
mod solvers;
mod subspace;
mod system;

pub use config::{Config, Solver, Zeros};
pub use fit::{Factors, Iteration, fit};
pub use fold_in::FoldIn;
pub use interactions::{Interactions, Pair};
pub use objective::objective;
