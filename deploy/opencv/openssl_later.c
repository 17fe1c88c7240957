/* The functions of OpenSSL that FFmpeg calls, found when the first of them is called.
 *
 * Few cameras speak TLS. Were libssl bound, every stream and film would load it, with libcrypto: 4 MB.
 * Without the library a call returns 0, which FFmpeg takes as a failure. The compiler compares each
 * function with its declaration in OpenSSL's headers.
 */
#include <dlfcn.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static void *find(const char *name) {
  /* Of libcrypto, too: a handle finds what its library depends on. It stays open. */
  void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
  return library ? dlsym(library, name) : 0;
}

#define LATER(type, name, parameters, arguments) \
  type name parameters {                         \
    static type(*real) parameters;               \
    if (!real) real = find(#name);               \
    return real ? real arguments : (type)0;      \
  }

/* Two threads may find the same address at the same time: both write the same. */
LATER(void, BIO_clear_flags, (BIO * b, int f), (b, f))
LATER(void *, BIO_get_data, (BIO * b), (b))
LATER(void, BIO_meth_free, (BIO_METHOD * m), (m))
LATER(BIO_METHOD *, BIO_meth_new, (int t, const char *n), (t, n))
LATER(int, BIO_meth_set_create, (BIO_METHOD * m, int (*f)(BIO *)), (m, f))
LATER(int, BIO_meth_set_ctrl, (BIO_METHOD * m, long (*f)(BIO *, int, long, void *)), (m, f))
LATER(int, BIO_meth_set_destroy, (BIO_METHOD * m, int (*f)(BIO *)), (m, f))
LATER(int, BIO_meth_set_puts, (BIO_METHOD * m, int (*f)(BIO *, const char *)), (m, f))
LATER(int, BIO_meth_set_read, (BIO_METHOD * m, int (*f)(BIO *, char *, int)), (m, f))
LATER(int, BIO_meth_set_write, (BIO_METHOD * m, int (*f)(BIO *, const char *, int)), (m, f))
LATER(BIO *, BIO_new, (const BIO_METHOD *m), (m))
LATER(void, BIO_set_data, (BIO * b, void *p), (b, p))
LATER(void, BIO_set_flags, (BIO * b, int f), (b, f))
LATER(void, BIO_set_init, (BIO * b, int i), (b, i))
LATER(char *, ERR_error_string, (unsigned long e, char *s), (e, s))
LATER(unsigned long, ERR_get_error, (void), ())
LATER(void, SSL_CTX_free, (SSL_CTX * c), (c))
LATER(int, SSL_CTX_load_verify_locations, (SSL_CTX * c, const char *f, const char *d), (c, f, d))
LATER(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *m), (m))
LATER(uint64_t, SSL_CTX_set_options, (SSL_CTX * c, uint64_t o), (c, o))
LATER(void, SSL_CTX_set_verify, (SSL_CTX * c, int m, SSL_verify_cb f), (c, m, f))
LATER(int, SSL_CTX_use_PrivateKey_file, (SSL_CTX * c, const char *f, int t), (c, f, t))
LATER(int, SSL_CTX_use_certificate_chain_file, (SSL_CTX * c, const char *f), (c, f))
LATER(int, SSL_accept, (SSL * s), (s))
LATER(int, SSL_connect, (SSL * s), (s))
LATER(long, SSL_ctrl, (SSL * s, int c, long n, void *p), (s, c, n, p))
LATER(void, SSL_free, (SSL * s), (s))
LATER(int, SSL_get_error, (const SSL *s, int r), (s, r))
LATER(SSL *, SSL_new, (SSL_CTX * c), (c))
LATER(int, SSL_read, (SSL * s, void *p, int n), (s, p, n))
LATER(void, SSL_set_bio, (SSL * s, BIO *r, BIO *w), (s, r, w))
LATER(int, SSL_shutdown, (SSL * s), (s))
LATER(int, SSL_write, (SSL * s, const void *p, int n), (s, p, n))
LATER(const SSL_METHOD *, TLS_client_method, (void), ())
LATER(const SSL_METHOD *, TLS_server_method, (void), ())
