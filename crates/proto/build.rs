//! Compiles `proto/` with protox, so that no protoc is needed on the build machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let descriptors = protox::compile(["linkmgr_grpc_driver.proto"], ["../../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .codec_path("crate::codec::SmallCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
