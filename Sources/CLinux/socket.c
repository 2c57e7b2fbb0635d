#define _GNU_SOURCE
#include "martlet-socket.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_on(int family, const void *address, socklen_t size, int only_ipv6) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    int on = 1;
    // A restarted server must not wait for the old connections' last minutes.
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof only_ipv6);
    if (bind(fd, address, size) < 0 || listen(fd, 1024) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int martlet_listen(const uint8_t *address, size_t address_count, uint16_t port) {
    if (address_count == 0 || address_count == 16) {
        struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        if (address_count == 16) memcpy(&name.sin6_addr, address, 16);
        int fd = listen_on(AF_INET6, &name, sizeof name, address_count == 16);
        // A host without IPv6 still has every address of IPv4.
        int no_ipv6 = fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
        if (address_count == 16 || !no_ipv6) return fd;
    } else if (address_count != 4) {
        errno = EINVAL;
        return -1;
    }
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (address_count == 4) memcpy(&name.sin_addr, address, 4);
    return listen_on(AF_INET, &name, sizeof name, 0);
}

int martlet_accept(int listener) {
    int fd;
    do {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return -1;
    int on = 1;
    // An answer is one write, and must not wait for the acknowledgement of the last.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // Laptops that sleep for ever leave sessions otherwise.
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return fd;
}
