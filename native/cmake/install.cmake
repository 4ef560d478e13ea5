# What `cmake --install` puts into a folder: libraries, headers, the CMake package and the pkg-config file. The folder can be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS rbe rbe_static EXPORT rbeTargets)
install(DIRECTORY include/rbe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(RBE_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/rbe)
install(EXPORT rbeTargets NAMESPACE rbe:: DESTINATION ${RBE_PACKAGE_DIR})
configure_package_config_file(cmake/rbeConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/rbeConfig.cmake INSTALL_DESTINATION ${RBE_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/rbeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
configure_file(cmake/rbe.pc.in ${CMAKE_CURRENT_BINARY_DIR}/rbe.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rbeConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/rbeConfigVersion.cmake DESTINATION ${RBE_PACKAGE_DIR})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rbe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
