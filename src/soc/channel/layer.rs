//! What each layer between h2 and TCP passes on unchanged: flush, shutdown and the like. A layer implements only the writing itself.

/// The methods of `AsyncWrite`, inside an implementation of it, that are those of what lies below, in this field.
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
