// Listening and accepting; the socket addresses stay in C.
#ifndef MARTLET_SOCKET_H
#define MARTLET_SOCKET_H

#include <stddef.h>
#include <stdint.h>

/// A listening TCP socket, non-blocking and close-on-exec. `address` is 4 bytes of IPv4, 16 of
/// IPv6, or none for every address of both. Returns the descriptor, or -1 with errno.
int martlet_listen(const uint8_t *address, size_t address_count, uint16_t port);

/// The next connection, non-blocking and close-on-exec, without Nagle's algorithm and with
/// keep-alive. Returns the descriptor, or -1 with errno.
int martlet_accept(int listener);

#endif
