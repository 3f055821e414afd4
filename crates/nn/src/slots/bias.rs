//! Bias: what the place of an impression adds to its logit, learned beside the model and left out when serving.

use serde::{Deserialize, Serialize};

/// No bias is modelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoBias {}

super::slot! {
    /// What the place of an impression adds to its logit.
    Bias "bias" default None {
        None(NoBias) = "none", "No bias is modelled", "";
    }
}
