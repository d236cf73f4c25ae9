//! What each layer between h2 and TCP passes on unchanged: flush, shutdown and the like. A layer implements only the writing
//! itself.

/// For an implementation of `AsyncWrite`: the methods that only call the same method of the layer below, which is in this
/// field.
macro_rules! as_below {
    ($below:ident) => {
        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.get_mut().$below).poll_flush(cx)
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.get_mut().$below).poll_shutdown(cx)
        }

        fn is_write_vectored(&self) -> bool {
            self.$below.is_write_vectored()
        }
    };
}

pub(super) use as_below;
