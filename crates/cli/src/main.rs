//! The `kitestring` command.
fn main() {}
