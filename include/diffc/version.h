#ifndef DIFFC_VERSION_H
#define DIFFC_VERSION_H

/* Version of the headers. The major number is the SONAME; any incompatible change raises it. */
#define DIFFC_VERSION_MAJOR 0
#define DIFFC_VERSION_MINOR 1
#define DIFFC_VERSION_PATCH 0
#define DIFFC_VERSION_TEXT "0.1.0"

/* Raised by one with every addition to the public interface. */
#define DIFFC_ABI_VERSION 1

#endif
