//! The `dermald` command; everything is in the library.

fn main() -> std::process::ExitCode {
    dermald::cli::main()
}
