pub mod image; pub mod model; pub mod wire;
