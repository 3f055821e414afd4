//! Prints the paths of this processor whose products are as they should be, the one that is chosen first.

fn main() -> kitestring_core::Result<()> {
    for (path, products) in kitestring_paths::check()? {
        println!("{} {products} products", path.name());
    }
    Ok(())
}
